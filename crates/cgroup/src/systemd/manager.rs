//! systemd's manager: its methods on units, and waiting for jobs
//! (org.freedesktop.systemd1(5), "The Manager Object").

use std::path::{Path, PathBuf};

use super::SystemdError;
use super::bus::{Connection, Endpoint, Peer};
use super::properties;
use super::wire::{Property, Target, Writer};
use crate::namespace::in_user_namespace;

const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SCOPE: &str = "org.freedesktop.systemd1.Scope";

/// Whether systemd runs the machine (sd_booted(3)).
pub(crate) fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Whether the manager in charge is a user's: root's is the system's, unless root is so only in a
/// user namespace that an unprivileged user's session was taken into.
pub(crate) fn is_users() -> bool {
    let given = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !rustix::process::geteuid().is_root()
        || (given("XDG_RUNTIME_DIR") || given("DBUS_SESSION_BUS_ADDRESS")) && in_user_namespace()
}

/// Where the manager listens.
pub(crate) fn endpoints() -> Result<Vec<Endpoint>, SystemdError> {
    let root = !is_users();
    let variable = if root { "DBUS_SYSTEM_BUS_ADDRESS" } else { "DBUS_SESSION_BUS_ADDRESS" };
    if let Some(address) = std::env::var(variable).ok().filter(|a| !a.is_empty()) {
        return Ok(vec![Endpoint::parse(&address)?]);
    }
    if root {
        return Ok(vec![
            Endpoint { path: "/run/systemd/private".into(), peer: Peer::Manager },
            Endpoint { path: "/run/dbus/system_bus_socket".into(), peer: Peer::Bus },
        ]);
    }
    let directory = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(
        || PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw())),
        PathBuf::from,
    );
    Ok(vec![
        Endpoint { path: directory.join("systemd/private"), peer: Peer::Manager },
        Endpoint { path: directory.join("bus"), peer: Peer::Bus },
    ])
}

/// The manager at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Manager {
    connection: Connection,
}

impl Manager {
    pub(crate) fn connect(endpoints: &[Endpoint]) -> Result<Self, SystemdError> {
        let mut connection = Connection::open(endpoints)?;
        if connection.peer == Peer::Bus {
            connection.add_match(
                "type='signal',sender='org.freedesktop.systemd1',\
                 interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
            )?;
        }
        let mut manager = Self { connection };
        match manager.call("Subscribe", "", Writer::default()) {
            Err(SystemdError::Method { name, .. })
                if name == "org.freedesktop.systemd1.AlreadySubscribed" => {}
            result => drop(result?),
        }
        Ok(manager)
    }

    fn call(
        &mut self,
        member: &'static str,
        signature: &str,
        body: Writer,
    ) -> Result<super::wire::Message, SystemdError> {
        let target = Target { destination: DESTINATION, path: PATH, interface: MANAGER, member };
        self.connection.call(&target, signature, &body.into_bytes())
    }

    /// The state of a unit that systemd has loaded, such as `active` or `failed`.
    pub(crate) fn state(&mut self, unit: &str) -> Result<Option<String>, SystemdError> {
        let mut body = Writer::default();
        body.text(unit);
        match self.call("GetUnit", "s", body) {
            Err(SystemdError::Method { name, .. }) if name == NO_SUCH_UNIT => Ok(None),
            result => {
                let path = result?.body().text()?;
                self.property(&path, UNIT, "ActiveState").map(Some)
            }
        }
    }

    /// Has systemd forget that a unit failed, which unloads one that does not run.
    pub(crate) fn forget_failure(&mut self, unit: &str) -> Result<(), SystemdError> {
        let mut body = Writer::default();
        body.text(unit);
        match self.call("ResetFailedUnit", "s", body) {
            Err(SystemdError::Method { .. }) => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// Leaves out the properties that this systemd is too old for; the kernel's files are written
    /// in any case.
    fn known(&mut self, properties: &[Property]) -> Result<Vec<Property>, SystemdError> {
        let mut known = properties.to_vec();
        if properties.iter().any(|property| properties::since(property) > 0) {
            let text = self.property(PATH, MANAGER, "Version")?;
            let digits: String =
                text.trim_start_matches('v').chars().take_while(char::is_ascii_digit).collect();
            let version = digits.parse().unwrap_or(u32::MAX);
            known.retain(|property| properties::since(property) <= version);
        }
        Ok(known)
    }

    /// Starts a transient unit and waits until it runs.
    pub(crate) fn start_transient(
        &mut self,
        unit: &str,
        properties: &[Property],
    ) -> Result<(), SystemdError> {
        let properties = self.known(properties)?;
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        body.properties(&properties);
        body.array(8, |_| {});
        let job = self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)?.body().text()?;
        self.wait_for(unit, &job)
    }

    /// Stops a unit and waits until it is gone; that there is none is no error.
    pub(crate) fn stop(&mut self, unit: &str) -> Result<(), SystemdError> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        match self.call("StopUnit", "ss", body) {
            Err(SystemdError::Method { name, .. }) if name == NO_SUCH_UNIT => return Ok(()),
            result => {
                let job = result?.body().text()?;
                self.wait_for(unit, &job)?;
            }
        }
        // One that failed would stay listed for good.
        self.forget_failure(unit)
    }

    /// Changes properties of a running unit until it ends.
    pub(crate) fn set_properties(
        &mut self,
        unit: &str,
        properties: &[Property],
    ) -> Result<(), SystemdError> {
        let properties = self.known(properties)?;
        let mut body = Writer::default();
        body.text(unit);
        body.bool(true);
        body.properties(&properties);
        self.call("SetUnitProperties", "sba(sv)", body).map(|_| ())
    }

    /// The control group of a scope, as /proc/PID/cgroup spells it.
    pub(crate) fn control_group(&mut self, unit: &str) -> Result<String, SystemdError> {
        self.property(&format!("{PATH}/unit/{}", escape(unit)), SCOPE, "ControlGroup")
    }

    /// A property that is a string.
    fn property(
        &mut self,
        path: &str,
        interface: &str,
        name: &str,
    ) -> Result<String, SystemdError> {
        let target = Target {
            destination: DESTINATION,
            path,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
        };
        let mut body = Writer::default();
        body.text(interface);
        body.text(name);
        let answer = self.connection.call(&target, "ss", &body.into_bytes())?;
        let mut reader = answer.body();
        if reader.signature()? != "s" {
            return Err(SystemdError::Malformed { what: "a property that is no string" });
        }
        reader.text()
    }

    /// `JobRemoved(u id, o job, s unit, s result)`
    fn wait_for(&mut self, unit: &str, job: &str) -> Result<(), SystemdError> {
        loop {
            let signal = self.connection.signal()?;
            if signal.member != "JobRemoved" || signal.signature != "uoss" {
                continue;
            }
            let mut body = signal.body();
            body.u32()?;
            if body.text()? != job {
                continue;
            }
            body.text()?;
            let result = body.text()?;
            return if result == "done" {
                Ok(())
            } else {
                Err(SystemdError::Job { unit: unit.to_owned(), result })
            };
        }
    }
}

/// A unit's name in an object path.
fn escape(unit: &str) -> String {
    let mut out = String::new();
    for (index, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && index > 0) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("_{byte:02x}"));
        }
    }
    out
}
