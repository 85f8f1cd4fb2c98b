#!/bin/sh
# Makes what systemd-vm.sh boots, in the directory $1: root.ext4 (Debian with systemd, and two users
# without privileges), vmlinuz, and the modules that reach the disk.
set -eu
cd "$1"
mmdebstrap --variant=minbase --include=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,uidmap,busybox-static,jq \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/zoneinfo/*' bookworm root

package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\).*/\1/p' | head -1)
apt-get download "$package"
mkdir kernel modules
dpkg-deb --fsys-tarfile "$package"_*.deb | tar x -C kernel
mv kernel/boot/vmlinuz-* vmlinuz
for module in virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
  find kernel -name "$module.ko" -exec mv {} modules/ ';'
done
rm -rf kernel ./*.deb

# A root for containers: busybox alone, readable for everybody.
mkdir -p root/srv/rootfs/bin root/srv/rootfs/dev root/srv/rootfs/proc root/srv/rootfs/sys root/srv/rootfs/tmp root/srv/rootfs/etc
cp root/bin/busybox root/srv/rootfs/bin/
for applet in $(root/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "root/srv/rootfs/bin/$applet"; done
echo 'root:x:0:0::/:/bin/sh' > root/srv/rootfs/etc/passwd
: > root/srv/rootfs/etc/resolv.conf

# One user with subordinate ids, one without.
chroot root useradd --create-home --uid 1000 --shell /bin/bash many
chroot root useradd --create-home --uid 1001 --shell /bin/bash single
echo 'many:100000:65536' > root/etc/subuid
echo 'many:100000:65536' > root/etc/subgid
mkdir -p root/var/lib/systemd/linger
: > root/var/lib/systemd/linger/many

cat > root/etc/systemd/system/berth-checks.target <<'EOU'
[Unit]
Description=What is checked
Requires=basic.target berth-checks.service
After=basic.target
AllowIsolate=yes
EOU
cat > root/etc/systemd/system/berth-checks.service <<'EOU'
[Unit]
After=basic.target dbus.socket
[Service]
Type=oneshot
ExecStart=/bin/sh /run/berth/common.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=infinity
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
EOU
# Every controller for users' managers, as distributions for containers have it.
mkdir -p root/etc/systemd/system/user@.service.d
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' > root/etc/systemd/system/user@.service.d/delegate.conf
for unit in systemd-timesyncd.service systemd-udevd.service systemd-udev-trigger.service systemd-udev-settle.service \
    systemd-journal-flush.service systemd-update-utmp.service systemd-random-seed.service systemd-pstore.service \
    systemd-networkd.service systemd-resolved.service e2scrub_reap.service apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-sysctl.service systemd-remount-fs.service \
    dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount dev-mqueue.mount systemd-binfmt.service \
    proc-sys-fs-binfmt_misc.automount modprobe@.service systemd-modules-load.service; do
  ln -sf /dev/null "root/etc/systemd/system/$unit"
done
: > root/etc/machine-id
rm -f root/var/lib/dbus/machine-id; rm -rf root/var/cache/apt root/var/lib/apt/lists root/boot
echo berth-vm > root/etc/hostname
mke2fs -q -t ext4 -O ^has_journal -d root -L berth root.ext4 700M
rm -rf --one-file-system root
