# Run as a user without privileges, in $1: no group of one's own, or a delegated one.
. /run/berth/common.sh
me="$(id -un), $1"
b=$HOME/b; mkdir -p $b
bundle() {
  rm -rf $b/$1; mkdir -p $b/$1
  (cd $b/$1 && $rt spec --rootless && jq ".root.path=\"/srv/rootfs\" | .process.terminal=false | $2" config.json > c && mv c config.json) || no "$me: bundle $1"
}
# What it says itself goes to a file, apart from what the container prints.
run() { $rt run --bundle $b/$1 $1 < /dev/null 2> $b/err; }
fails() { run $1 > $b/log && return 1; out=$(cat $b/err); }
sh='.process.args=["sh","-c",'
limits='.linux.resources={"memory":{"limit":67108864},"pids":{"limit":33}}'
[ "$(id -un)" = many ] && mapped='.linux.uidMappings+=[{"containerID":1,"hostID":100000,"size":65535}] | .linux.gidMappings+=[{"containerID":1,"hostID":100000,"size":65535}]' || mapped=.

bundle id "$sh"'"id -u; cat /proc/self/setgroups; hostname; ls -d /proc/self /sys/class"] | '"$mapped"
want="0
$([ "$mapped" = . ] && echo deny || echo allow)
berth
/proc/self
/sys/class"
is "$me: a container runs" "$(run id)" "$want"
if [ "$mapped" != . ]; then
  bundle other "$sh"'"id -u; touch /dev/shm/f && stat -c %u:%g /dev/shm/f"] | .process.user={"uid":7,"gid":8,"additionalGids":[9]} | '"$mapped"
  is "$me: as another user of its range" "$(run other)" "7
7:8"
else
  bundle other '.process.args=["true"] | .process.user={"uid":7,"gid":7}'
  fails other && ok "$me: a user that is not mapped is refused" || no "$me: a user that is not mapped is refused"
  bundle groups '.process.args=["true"] | .process.user.additionalGids=[9]'
  fails groups && ok "$me: groups are refused where setgroups is denied" || no "$me: groups are refused where setgroups is denied"
  bundle range '.process.args=["true"] | .linux.uidMappings=[{"containerID":0,"hostID":100000,"size":65536}]'
  fails range && has "$me: ids of others are refused" "$out" "newuidmap" || no "$me: ids of others are refused"
fi
bundle life '.process.args=["sleep","1000"] | '"$mapped"
$rt run -d --bundle $b/life life > $b/log 2>&1 < /dev/null; is "$me: detached" "$?" 0
is "$me: exec" "$($rt exec life id -u)" 0
is "$me: listed" "$($rt list -q)" life
$rt delete --force life > $b/log 2>&1; is "$me: deleted" "$? $($rt list -q)" "0 "
bundle sysfs '.process.args=["ls","-d","/sys/kernel"] | .mounts |= map(if .destination=="/sys" then {"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]} else . end)'
is "$me: sysfs without a network namespace is the host's" "$(run sysfs)" "/sys/kernel"
bundle remount "$sh"'"touch /sys/kernel/mm/x 2>&1 | grep -o Read-only; mount -o remount,rw /sys 2>/dev/null && echo writable"] | .mounts |= map(if .destination=="/sys" then {"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]} else . end)'
is "$me: and cannot be written to" "$(run remount)" "Read-only"

group=$(sed -n 's/^0:://p' /proc/self/cgroup)
case $1 in
none)
  bundle limited '.process.args=["true"] | '"$limits"
  fails limited && has "$me: limits are refused" "$out" "ermission denied" || no "$me: limits are refused" "$out"
  bundle path '.process.args=["true"] | .linux.cgroupsPath="/berth-none/x"'
  fails path && has "$me: so is a path of somebody else's" "$out" "ermission denied" || no "$me: so is a path of somebody else's" "$out"
  is "$me: nothing is left of either" "$($rt list -q)" ""
  ;;
delegated)
  above=/sys/fs/cgroup${group%/*}
  bundle limited '.process.args=["sleep","1000"] | '"$limits | $mapped"
  $rt run -d --bundle $b/limited limited > $b/log 2>&1 < /dev/null; is "$me: with limits" "$? $(cat $b/log)" "0 "
  is "$me: limits are in the files" "$(cat $above/limited/memory.max $above/limited/pids.max)" "67108864
33"
  $rt update --memory 134217728 limited > $b/log 2>&1; is "$me: update" "$? $(cat $above/limited/memory.max)" "0 134217728"
  $rt pause limited; is "$me: pause" "$($rt state limited | jq -r .status)" paused
  $rt delete --force limited > $b/log 2>&1; is "$me: delete of a paused container" "$? $(ls -d $above/limited 2>/dev/null)" "0 "
  bundle nest "$sh"'"mkdir /sys/fs/cgroup/sub && echo $$ > /sys/fs/cgroup/sub/cgroup.procs && cat /proc/self/cgroup"]
    | (.mounts[]|select(.type=="cgroup")|.options) |= map(if .=="ro" then "rw" else . end) | .linux.namespaces += [{"type":"cgroup"}]'
  is "$me: groups of its own" "$(run nest)" "0::/sub"
  # Under the user's own systemd.
  bundle scope '.process.args=["sleep","1000"] | .linux.cgroupsPath="user.slice:berth:scope" | '"$limits | $mapped"
  $rt --systemd-cgroup run -d --bundle $b/scope scope > $b/log 2>&1 < /dev/null; is "$me: a scope starts" "$? $(cat $b/log)" "0 "
  is "$me: in the user's manager" "$(systemctl --user show --value -p ActiveState,MemoryMax,TasksMax,Delegate berth-scope.scope | sort | tr '\n' ' ')" "33 67108864 active yes "
  scope=/sys/fs/cgroup$(systemctl --user show --value -p ControlGroup berth-scope.scope)
  is "$me: with its limits" "$(cat $scope/memory.max $scope/pids.max)" "67108864
33"
  $rt --systemd-cgroup update --pids-limit 44 scope > $b/log 2>&1; is "$me: the scope is updated" "$(cat $scope/pids.max) $(systemctl --user show --value -p TasksMax berth-scope.scope)" "44 44"
  systemctl --user daemon-reload; is "$me: limits survive a daemon-reload" "$(cat $scope/pids.max $scope/memory.max)" "44
67108864"
  $rt --systemd-cgroup delete --force scope > $b/log 2>&1; is "$me: the scope is deleted" "$? $(cat $b/log)" "0 "
  until_true "! [ -d $scope ]"; is "$me: and gone" "$(systemctl --user show --value -p LoadState berth-scope.scope)" not-found
  ;;
esac
