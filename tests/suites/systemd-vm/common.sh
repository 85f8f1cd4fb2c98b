# Run by systemd in the guest: words that the checks share, then the checks themselves.
rt=/run/berth/berth-runtime
ok() { echo "@ok - $1"; }
no() { echo "@not ok - $1${2:+ ($2)}"; }
sk() { echo "@skip - $1${2:+ ($2)}"; }
is() { if [ "$2" = "$3" ]; then ok "$1"; else no "$1" "want '$3' got '$2'"; fi; }
has() { case $2 in *"$3"*) ok "$1" ;; *) no "$1" "want '$3' in '$2'" ;; esac; }
# Waits for a condition, a minute at most.
until_true() {
  local end=$(($(date +%s) + 60))
  until eval "$1" >/dev/null 2>&1; do [ "$(date +%s)" -lt $end ] || return 1; sleep 0.1; done
}

# Containers of root in scopes.
sd() { $rt --systemd-cgroup "$@"; }
b=/run/b
# bundle NAME FILTER: the default configuration, in a scope of the test's slice
bundle() {
  rm -rf $b/$1; mkdir -p $b/$1
  (cd $b/$1 && $rt spec && jq ".root.path=\"/srv/rootfs\" | .process.terminal=false | .process.args=[\"sleep\",\"1000\"]
    | .linux.cgroupsPath=\"berthtest.slice:berth:$1\" | $2" config.json > c && mv c config.json) || no "bundle $1"
}
up() { sd run -d --bundle $b/$1 $1 > /run/out 2>&1 < /dev/null || { no "start $1" "$(head -c 300 /run/out)"; return 1; }; }
down() { sd delete --force $1 > /run/out 2>&1 || no "delete $1" "$(head -c 300 /run/out)"; }
val() { cat $cg/berthtest.slice/berth-$1.scope/$2 2>/dev/null; }
prop() { systemctl show --value -p $2 berth-$1.scope; }
scopes() { systemctl list-units --all --plain --no-legend 'berth-*.scope' | wc -l; }
left() { echo "$(scopes) $(ls -d $cg/berthtest.slice/*/ $cg/berthfs/*/ 2>/dev/null | wc -l) $($rt list -q | wc -l)"; }
clean() { until_true '[ "$(left)" = "0 0 0" ]'; is "$1" "$(left)" "0 0 0"; }


# The disk may be read and not be written, the serial line is nobody's.
devices() {
  sd exec limits sh -c 'cd /dev; [ -e k ] || mknod k b 254 0; [ -e m ] || mknod m c 4 64
    can() { (eval ": $1") 2>/dev/null && echo "$1"; }
    can "< k"; can "> k"; can "< m"; can "> null"; can "< zero"' | tr '\n' ,
}
listed="< k,> null,< zero,"

if [ -z "${BERTH_AS_USER:-}" ]; then
  echo "guest: $(uname -r), systemd $(systemctl --version | sed -n '1s/systemd \([^ ]*\).*/\1/p')"
  echo "runtime: $($rt --version | head -1)"
  for part in $(sed 's/.*berth.checks=\([a-z,]*\).*/\1/' /proc/cmdline | tr , ' '); do . /run/berth/$part.sh; done
  echo "@done"
  sync; echo o > /proc/sysrq-trigger
  sleep 60
fi
