#!/bin/bash
# Boots Debian with systemd as PID 1 under QEMU TCG and checks a static runtime there: its systemd
# driver, and what it does for users without privileges.
# usage: systemd-vm.sh RUNTIME_BINARY
#   env: CACHE=dir   the root image and the kernel are kept here (default /var/tmp/berth-vm)
#        SMP=2  MEM=1024  VM_TIMEOUT=1500;  CONSOLE=file  copy of the guest's output
#        BOOTS="unified hybrid"  which layouts of cgroups are booted
# needs: qemu-system-x86, cpio, busybox-static, mmdebstrap, e2fsprogs (apt), and root for the image.
# Prints 'ok|not ok|skip - name' lines of the guest, then 'N passed, N failed, N skipped'.
set -u
[ $# -eq 1 ] || { sed -n 2,10p "$0"; exit 2; }
runtime=$(readlink -f "$1") || { echo "no such runtime: $1"; exit 2; }
here=$(dirname "$(readlink -f "$0")")
cache=${CACHE:-/var/tmp/berth-vm}; mkdir -p "$cache"
work=$(mktemp -d /tmp/berth-vm.XXXXXX); trap 'rm -rf --one-file-system "$work"' EXIT

# The image's name holds a digest of what it is made from, so that a change makes a new one.
recipe=$here/systemd-vm/image.sh
image=$cache/systemd-$(sha256sum < "$recipe" | cut -c1-16)
if [ ! -e "$image/root.ext4" ]; then
  making=$(mktemp -d "$cache/making.XXXXXX")
  if ! sh "$recipe" "$making" > "$work/making" 2>&1; then
    tail -5 "$work/making"; rm -rf --one-file-system "$making"
    echo "cannot get a root image"; exit 2
  fi
  # Whoever is first wins; both made the same.
  mv -T "$making" "$image" 2>/dev/null || rm -rf --one-file-system "$making"
fi

# What changes from run to run comes in the first root: the runtime and the checks.
root=$work/root; mkdir -p "$root"/{bin,dev,proc,sys,run,new,berth}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$image"/modules/*.ko "$root/"
cp "$runtime" "$root/berth/berth-runtime"; chmod 755 "$root/berth/berth-runtime"
cp "$here"/systemd-vm/{common,system,rootless,user,hybrid}.sh "$root/berth/"
cat > "$root/init" <<'EOI'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for m in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do $b insmod /$m.ko; done
for try in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; $b sleep 1; done
$b mount -t ext4 /dev/vda /new || $b poweroff -f
$b mount -t tmpfs -o mode=755 tmpfs /run
$b cp -a /berth /run/berth
$b mount --move /dev /new/dev; $b mount --move /run /new/run
exec $b switch_root /new /sbin/init
EOI
chmod +x "$root/init"; ln -s bin/busybox "$root/bin/sh"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/initrd" || exit 2

out=${CONSOLE:-$work/console}; : > "$out"
passed=0; failed=0; skipped=0
# boot NAME PARAMETERS...: the image is shared, so what the guest writes to it is thrown away
boot() {
  local name=$1; shift
  timeout "${VM_TIMEOUT:-1500}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp "${SMP:-2}" -m "${MEM:-1024}" \
    -kernel "$image/vmlinuz" -initrd "$work/initrd" -drive "file=$image/root.ext4,format=raw,if=virtio,snapshot=on" \
    -append "console=ttyS0 quiet panic=-1 rdinit=/init systemd.unit=berth-checks.target systemd.show_status=0 systemd.log_target=null $*" \
    -nographic -no-reboot -nodefaults -serial stdio -monitor none -net none < /dev/null > "$work/raw" 2>&1
  tr -d '\r' < "$work/raw" | tee -a "$out" > "$work/text"
  grep -E '^(guest|runtime): ' "$work/text"; sed -n 's/^@\(ok\|not ok\|skip\) /\1 /p' "$work/text"
  passed=$((passed + $(grep -c '^@ok ' "$work/text"))); failed=$((failed + $(grep -c '^@not ok ' "$work/text")))
  skipped=$((skipped + $(grep -c '^@skip ' "$work/text")))
  grep -q '^@done' "$work/text" || { echo "not ok - the guest did not finish ($name)"; tail -20 "$work/text"; failed=$((failed+1)); }
}
for name in ${BOOTS:-unified hybrid}; do
  case $name in
    unified) boot unified berth.checks=system,rootless ;;
    hybrid) boot hybrid berth.checks=hybrid systemd.unified_cgroup_hierarchy=0 ;;
    *) echo "no such boot: $name"; exit 2 ;;
  esac
done
echo "$passed passed, $failed failed, $skipped skipped"
