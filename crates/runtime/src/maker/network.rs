//! Moving network devices into the container's network namespace (config-linux.md, "Network
//! Devices"; rtnetlink(7)).
//!
//! A device keeps its attributes by itself, but the kernel takes its addresses away: those that are
//! permanent and global are given back. Everything that can be refused is looked at before the
//! first device moves; should the creation fail later, all of them are taken back.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};

use berth_spec::runtime::{LinuxNamespaceType, LinuxNetDevice};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::reports;
use crate::error::SetupError;
use crate::plan::NamespacePlan;
use crate::sys::{self, Intermediate};

/// Devices that were moved. Holding this keeps the namespace that they are in, so that they can be
/// had back.
#[derive(Debug)]
pub(crate) struct Moved {
    host: Netlink,
    container: Netlink,
    namespace: OwnedFd,
    devices: Vec<Device>,
}

/// A device on its way.
#[derive(Debug)]
struct Device {
    name: String,
    /// Its number, where it is now.
    index: i32,
    /// What the kernel takes away from it.
    addresses: Vec<Address>,
    flags: u32,
}

/// Moves the devices into the network namespace of process `pid`, and sets them up there. What has
/// been moved when this fails stands in `moved`.
pub(crate) fn move_devices(
    devices: &BTreeMap<String, LinuxNetDevice>,
    namespaces: &NamespacePlan,
    pid: i32,
    moved: &mut Option<Moved>,
) -> Result<(), SetupError> {
    if devices.is_empty() {
        return Ok(());
    }
    let joined = namespaces.join.iter().find(|join| join.kind == LinuxNamespaceType::Network);
    let namespace: OwnedFd = match joined {
        Some(join) => join.file.try_clone(),
        None => File::open(format!("/proc/{pid}/ns/net")).map(OwnedFd::from),
    }
    .map_err(|source| SetupError::Step {
        action: "open the container's network namespace for linux.netDevices".to_owned(),
        source,
    })?;
    let open = || {
        let host = Netlink::open()?;
        Ok((host, Netlink::open_in(&namespace)?))
    };
    let (host, container) = open().map_err(reports::at("ask the kernel of linux.netDevices"))?;
    let mut found = Vec::with_capacity(devices.len());
    for (name, device) in devices {
        let inside = device.name.as_deref().filter(|inside| !inside.is_empty()).unwrap_or(name);
        let link = host.link(name).map_err(at("find", name))?;
        let (index, flags) = link.ok_or_else(|| at("find", name)(Errno::NODEV))?;
        if !inside.contains('%') && container.link(inside).map_err(at("name", name))?.is_some() {
            return Err(at(&format!("give the name {inside} to"), name)(Errno::EXIST));
        }
        let addresses = host.addresses(index).map_err(at("ask the addresses of", name))?;
        found.push((inside, Device { name: name.clone(), index, addresses, flags }));
    }
    let moved = moved.insert(Moved { host, container, namespace, devices: Vec::new() });
    for (inside, device) in found {
        let name = device.name.clone();
        moved.take(inside, device).map_err(at("move", &name))?;
    }
    Ok(())
}

fn at(action: &str, name: &str) -> impl FnOnce(Errno) -> SetupError + use<> {
    reports::at(&format!("{action} the network device linux.netDevices.{name}"))
}

impl Moved {
    fn take(&mut self, inside: &str, mut device: Device) -> Result<(), Errno> {
        let template = inside.contains('%');
        let before = if template { self.container.indexes()? } else { Vec::new() };
        self.host.send_away(device.index, &self.namespace, inside)?;
        // Its number may have been taken over there.
        let index = if template {
            self.container.indexes()?.into_iter().find(|index| !before.contains(index))
        } else {
            self.container.link(inside)?.map(|(index, _)| index)
        };
        device.index = index.ok_or(Errno::NODEV)?;
        self.devices.push(device);
        let Some(device) = self.devices.last() else { return Ok(()) };
        self.container.set_up(device.index, &device.addresses, IFF_UP)
    }

    /// Takes the devices back, since there will be no container. Routes over them are gone.
    pub(crate) fn undo(&self) {
        // What does not come back is not worth a second failure on top of the first.
        let Ok(own) = File::open("/proc/self/ns/net") else { return };
        for device in &self.devices {
            let back = || {
                self.container.send_away(device.index, &own.as_fd(), &device.name)?;
                let (index, _) = self.host.link(&device.name)?.ok_or(Errno::NODEV)?;
                self.host.set_up(index, &device.addresses, device.flags & IFF_UP)
            };
            let _: Result<(), Errno> = back();
        }
    }
}

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
/// Only if it is not there yet.
const NLM_F_CREATE: u16 = 0x600;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
/// Flags that are the user's: no duplicate detection, no route for the prefix.
const IFA_F_KEPT: u32 = 0x02 | 0x200;
const IFF_UP: u32 = 1;
const HEADER: usize = 16;

/// A message on its way to the kernel.
struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: u16, head: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        // Neither a number nor a port: one request at a time is under way.
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(head);
        Self(bytes)
    }

    /// About a device (`struct ifinfomsg`).
    fn link(kind: u16, flags: u16, index: i32, up: u32) -> Self {
        let mut head = [0u8; 16];
        head[4..8].copy_from_slice(&index.to_ne_bytes());
        head[8..12].copy_from_slice(&up.to_ne_bytes());
        head[12..16].copy_from_slice(&up.to_ne_bytes());
        let ack = if flags & NLM_F_DUMP == NLM_F_DUMP { 0 } else { NLM_F_ACK };
        Self::new(kind, flags | ack, &head)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = 4 + value.len() as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn name(&mut self, name: &str) {
        self.attribute(IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        if let Some(place) = self.0.first_chunk_mut() {
            *place = length.to_ne_bytes();
        }
        self.0
    }
}

/// An address of a device: the head of its message, and what is kept of it.
#[derive(Debug)]
struct Address {
    head: [u8; 8],
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Understands a message; `None` for an address that does not move with the device.
    fn parse(body: &[u8], index: i32) -> Option<Self> {
        let (head, rest) = body.split_first_chunk::<8>()?;
        let [_, _, flags, scope, ..] = *head;
        let mut flags = u32::from(flags);
        let own = i32::from_ne_bytes(*head.last_chunk()?) == index;
        let mut attributes = Vec::new();
        each_attribute(rest, |kind, value| match (kind, value.first_chunk()) {
            (IFA_FLAGS, Some(&bytes)) => flags = u32::from_ne_bytes(bytes),
            // The address, the local end, broadcast, metric.
            (1 | 2 | 4 | 9, _) => attributes.push((kind, value.to_vec())),
            _ => {}
        });
        let moves = own && scope == 0 && flags & IFA_F_PERMANENT != 0;
        attributes.push((IFA_FLAGS, (flags & IFA_F_KEPT).to_ne_bytes().to_vec()));
        moves.then_some(Self { head: *head, attributes })
    }

    /// The message that gives it to a device.
    fn request(&self, index: i32) -> Request {
        let mut head = self.head;
        head[2] = 0;
        head[4..8].copy_from_slice(&index.to_ne_bytes());
        let mut request = Request::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_ACK, &head);
        for (kind, value) in &self.attributes {
            request.attribute(*kind, value);
        }
        request
    }
}

fn each_attribute(mut rest: &[u8], mut f: impl FnMut(u16, &[u8])) {
    while let Some((&[a, b, c, d], _)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = rest.get(4..length) else { return };
        f(u16::from_ne_bytes([c, d]) & 0x3fff, value);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// A socket to the kernel's network configuration, in the namespace that it was made in.
#[derive(Debug)]
struct Netlink(OwnedFd);

impl Netlink {
    fn open() -> Result<Self, Errno> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        // The protocol is 0, NETLINK_ROUTE.
        rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).map(Self)
    }

    /// Made by a helper that goes there, since a process should not change its own namespace.
    fn open_in(namespace: &OwnedFd) -> Result<Self, Errno> {
        struct Opener<'a>(&'a OwnedFd, Result<Netlink, Errno>);
        impl Intermediate for Opener<'_> {
            fn run(&mut self) -> bool {
                self.1 =
                    sys::setns(self.0, libc::CLONE_NEWNET as u64).and_then(|()| Netlink::open());
                self.1.is_ok()
            }
        }
        let mut opener = Opener(namespace, Err(Errno::CHILD));
        sys::run_intermediate(&mut opener)?;
        opener.1
    }

    /// The number and the flags of a device, if there is one of this name.
    fn link(&self, name: &str) -> Result<Option<(i32, u32)>, Errno> {
        let mut request = Request::link(RTM_GETLINK, 0, 0, 0);
        request.name(name);
        let mut found = None;
        match self.transact(request, |body| found = link(body)) {
            Err(Errno::NODEV) => Ok(None),
            result => result.map(|()| found),
        }
    }

    /// Moves a device to another namespace, where it gets this name.
    fn send_away(&self, index: i32, namespace: &impl AsRawFd, name: &str) -> Result<(), Errno> {
        let mut request = Request::link(RTM_NEWLINK, 0, index, 0);
        request.attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        request.name(name);
        self.transact(request, |_| {})
    }

    /// Gives a device its addresses, and sets it up unless `up` is 0.
    fn set_up(&self, index: i32, addresses: &[Address], up: u32) -> Result<(), Errno> {
        for address in addresses {
            self.transact(address.request(index), |_| {})?;
        }
        if up == 0 {
            return Ok(());
        }
        self.transact(Request::link(RTM_NEWLINK, 0, index, IFF_UP), |_| {})
    }

    /// The numbers of all devices.
    fn indexes(&self) -> Result<Vec<i32>, Errno> {
        let mut found = Vec::new();
        let request = Request::link(RTM_GETLINK, NLM_F_DUMP, 0, 0);
        self.transact(request, |body| found.extend(link(body).map(|(index, _)| index)))?;
        Ok(found)
    }

    /// The addresses of a device that move with it.
    fn addresses(&self, index: i32) -> Result<Vec<Address>, Errno> {
        let mut found = Vec::new();
        let request = Request::new(RTM_GETADDR, NLM_F_DUMP, &[0; 8]);
        self.transact(request, |body| found.extend(Address::parse(body, index)))?;
        Ok(found)
    }

    /// Sends a request and hears all of its answers.
    fn transact(&self, request: Request, mut answer: impl FnMut(&[u8])) -> Result<(), Errno> {
        rustix::net::send(&self.0, &request.finish(), SendFlags::empty())?;
        let mut buffer = vec![0u8; 32 << 10];
        loop {
            let (length, _) = rustix::io::retry_on_intr(|| {
                rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty())
            })?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((size, kind, body)) = message(rest) {
                match (kind, body.first_chunk()) {
                    (NLMSG_ERROR, Some(&code)) => {
                        return match i32::from_ne_bytes(code) {
                            0 => Ok(()),
                            code => Err(Errno::from_raw_os_error(-code)),
                        };
                    }
                    (NLMSG_DONE, _) => return Ok(()),
                    _ => answer(body),
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// The first message: its length, its kind and what follows its head.
fn message(bytes: &[u8]) -> Option<(usize, u16, &[u8])> {
    let size = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    Some((size, kind, bytes.get(HEADER..size)?))
}

/// The number and the flags in a message about a device.
fn link(body: &[u8]) -> Option<(i32, u32)> {
    let index = i32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    Some((index, u32::from_ne_bytes(*body.get(8..)?.first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_loopback_device_is_found_and_its_addresses_stay() {
        let netlink = Netlink::open().unwrap();
        assert_eq!(netlink.link("lo").unwrap().unwrap().0, 1);
        assert_eq!(netlink.link("nosuchdevice").unwrap(), None);
        assert!(netlink.indexes().unwrap().contains(&1));
        assert!(netlink.addresses(1).unwrap().is_empty());
    }

    #[test]
    fn an_address_moves_if_it_is_permanent_and_global() {
        let message = |index: u8, scope: u8, flags: u32| {
            let mut request = Request::new(RTM_NEWADDR, 0, &[2, 24, 0, scope, index, 0, 0, 0]);
            request.attribute(2, &[10, 0, 0, 1]);
            request.attribute(3, b"label\0");
            request.attribute(IFA_FLAGS, &flags.to_ne_bytes());
            request.finish().split_off(HEADER)
        };
        let kept = Address::parse(&message(7, 0, IFA_F_PERMANENT | 0x200), 7).unwrap();
        let flags = 0x200u32.to_ne_bytes().to_vec();
        assert_eq!(kept.attributes, [(2, vec![10, 0, 0, 1]), (IFA_FLAGS, flags)]);
        let bytes = kept.request(9).finish();
        assert_eq!(bytes[HEADER..HEADER + 8], [2, 24, 0, 0, 9, 0, 0, 0]);
        for (index, scope, flags) in [(8, 0, IFA_F_PERMANENT), (7, 253, IFA_F_PERMANENT), (7, 0, 0)]
        {
            assert!(Address::parse(&message(index, scope, flags), 7).is_none());
        }
    }
}
