# The systemd driver, as root.
cg=/sys/fs/cgroup
sh='.process.args=["sh","-c",'
bundle true '.process.args=["true"]'
bundle limits '.linux.resources={
  "devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":254,"minor":0,"access":"r"}],
  "memory":{"limit":67108864,"reservation":33554432,"swap":100663296},
  "cpu":{"shares":1024,"quota":50000,"period":100000,"burst":1000,"cpus":"0","mems":"0"},
  "pids":{"limit":33},
  "blockIO":{"weight":300,"throttleReadBpsDevice":[{"major":254,"minor":0,"rate":1048576}]},
  "hugepageLimits":[{"pageSize":"2MB","limit":4194304}],
  "unified":{"memory.high":"50331648","memory.oom.group":"1"}} | .process.capabilities.bounding+=["CAP_MKNOD"]
  | .process.capabilities.permitted+=["CAP_MKNOD"] | .process.capabilities.effective+=["CAP_MKNOD"]'

sd run --bundle $b/true true > /run/out 2>&1; is "run true" "$? $(cat /run/out)" "0 "
clean "nothing is left of it"

limits_in_files() {
  for pair in memory.max=67108864 memory.low=33554432 memory.swap.max=33554432 memory.high=50331648 memory.oom.group=1 \
      cpu.weight=100 cpu.max="50000 100000" cpu.max.burst=1000 cpuset.cpus=0 cpuset.mems=0 pids.max=33 \
      hugetlb.2MB.max=4194304 io.max="254:0 rbps=1048576 wbps=max riops=max wiops=max"; do
    # systemd learnt of this one in 253.
    [ "$1$pair" = reloadedmemory.oom.group=1 ] && [ "$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')" -lt 253 ] && continue
    [ "$(val limits "${pair%%=*}")" = "${pair#*=}" ] || echo "${pair%%=*} is $(val limits "${pair%%=*}")"
  done
}
if up limits; then
  is "the scope runs" "$(prop limits ActiveState)" active
  is "in its slice" "$(prop limits Slice)" berthtest.slice
  is "delegated" "$(prop limits Delegate)" yes
  is "MemoryMax" "$(prop limits MemoryMax)" 67108864
  is "MemoryLow" "$(prop limits MemoryLow)" 33554432
  is "MemoryHigh, from the unified map" "$(prop limits MemoryHigh)" 50331648
  is "MemorySwapMax" "$(prop limits MemorySwapMax)" 33554432
  is "CPUWeight" "$(prop limits CPUWeight)" 100
  is "CPUQuota" "$(prop limits CPUQuotaPerSecUSec)" 500ms
  is "AllowedCPUs" "$(prop limits AllowedCPUs)" 0
  is "TasksMax" "$(prop limits TasksMax)" 33
  has "IOReadBandwidthMax" "$(prop limits IOReadBandwidthMax)" 1048576
  is "DevicePolicy" "$(prop limits DevicePolicy)" strict
  has "DeviceAllow" "$(prop limits DeviceAllow)" "/dev/block/254:0 r"
  is "limits are in the files" "$(limits_in_files)" ""
  is "devices as listed" "$(devices)" "$listed"
  has "the process is in the scope" "$(cat /proc/$(sd state limits | jq .pid)/cgroup)" "/berthtest.slice/berth-limits.scope"
  has "exec joins it" "$(sd exec limits cat /proc/self/cgroup)" "/"
  systemctl daemon-reload
  is "limits survive a daemon-reload" "$(limits_in_files reloaded)" ""
  is "device rules survive a daemon-reload" "$(devices)" "$listed"
  systemctl daemon-reexec
  is "limits survive a daemon-reexec" "$(limits_in_files reloaded)" ""
  is "device rules survive a daemon-reexec" "$(devices)" "$listed"
  sd update --memory 134217728 --memory-swap 201326592 --pids-limit 44 --cpu-quota 20000 --cpu-share 512 limits > /run/out 2>&1
  is "update" "$? $(cat /run/out)" "0 "
  updated() { echo "$(val limits memory.max) $(val limits memory.swap.max) $(val limits pids.max) $(val limits cpu.max) $(val limits cpu.weight)"; }
  wanted="134217728 67108864 44 20000 100000 59"
  is "update is in the files" "$(updated)" "$wanted"
  is "systemd knows of the update" "$(prop limits MemoryMax) $(prop limits TasksMax) $(prop limits CPUWeight)" "134217728 44 59"
  systemctl daemon-reload
  is "updates survive a daemon-reload" "$(updated)" "$wanted"
  echo '{"devices":[{"allow":false,"access":"rwm"}]}' > /run/r.json
  sd update -r /run/r.json limits > /run/out 2>&1; is "an update leaves device rules alone" "$? $(devices)" "0 $listed"
  sd update --memory-swap 150994944 limits > /run/out 2>&1; is "update of swap alone" "$(val limits memory.swap.max)" 16777216
  sd pause limits; is "pause: cgroup.freeze" "$(val limits cgroup.freeze)" 1
  is "state paused" "$(sd state limits | jq -r .status)" paused
  sd exec limits true > /run/out 2>&1; [ $? -ne 0 ] && ok "no exec in a paused container" || no "no exec in a paused container"
  sd resume limits; is "resume: cgroup.freeze" "$(val limits cgroup.freeze)" 0
  # Another container under the same name is refused, and harms nobody.
  bundle other '.linux.cgroupsPath="berthtest.slice:berth:limits"'
  sd run -d --bundle $b/other other > /run/out 2>&1 < /dev/null; has "a scope in use is refused" "$? $(cat /run/out)" "exists already"
  is "and goes on" "$(prop limits ActiveState) $(sd state limits | jq -r .status)" "active running"
  is "and left no second record" "$($rt list -q | wc -l)" 1
  sd pause limits; down limits
fi
clean "nothing is left of a paused container"

# Failures at each stage leave no scope, no directory and no record.
bundle missing '.process.args=["/no/such/program"]'
sd run --bundle $b/missing missing > /run/out 2>&1; [ $? -ne 0 ] && ok "a missing program fails" || no "a missing program fails"
clean "and leaves nothing"
bundle badset '.linux.resources.cpu={"cpus":"77"}'
sd run --bundle $b/badset badset > /run/out 2>&1; has "CPUs that do not exist are refused" "$? $(cat /run/out)" "cpu"
clean "and leave nothing"
bundle baddev '.linux.resources.devices=[{"allow":true,"type":"x"}]'
sd run --bundle $b/baddev baddev > /run/out 2>&1; has "a wrong device rule is refused" "$(cat /run/out)" "devices[0].type"
clean "and leaves nothing behind"
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent/bus
sd create --bundle $b/true lost > /run/out 2>&1; has "without systemd a clear error" "$? $(cat /run/out)" "systemd cannot be reached"
sd delete --force lost > /run/out 2>&1; is "delete --force after it" "$? $(cat /run/out)" "0 "
unset DBUS_SYSTEM_BUS_ADDRESS
clean "and nothing is left"
bundle lone .
if up lone; then
  DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent/bus sd delete --force lone > /run/out 2>&1
  is "delete --force while systemd cannot be reached" "$? $(cat /run/out)" "0 "
fi
clean "leaves nothing, either"
# A creator that is killed at any point: what it left is deleted by force.
for delay in 0.02 0.05 0.1 0.15 0.2 0.3; do
  timeout -s KILL $delay $rt --systemd-cgroup run -d --bundle $b/lone killed > /run/out 2>&1 < /dev/null
  sd delete --force killed > /run/out 2>&1 || no "delete after a killed creation ($delay)" "$(cat /run/out)"
done
clean "nothing is left of creations that were killed"

bundle small '.linux.resources.memory={"limit":4194304} | .process.args=["true"]'
sd run --bundle $b/small small > /run/out 2>&1; is "a container with 4 MiB runs (systemd)" "$? $(cat /run/out)" "0 "
bundle smallfs '.linux.resources.memory={"limit":4194304} | .process.args=["true"] | .linux.cgroupsPath="/berthfs/small"'
$rt run --bundle $b/smallfs smallfs > /run/out 2>&1; is "a container with 4 MiB runs (cgroupfs)" "$? $(cat /run/out)" "0 "
bundle nopid "$sh"'"sleep 1000 & sleep 1000 & wait"] | .linux.namespaces |= map(select(.type!="pid"))'
if up nopid; then down nopid; until_true '[ -z "$(pidof sleep)" ]'; is "without a PID namespace every process dies" "$(pidof sleep)" ""; fi
clean "and the scope goes"
# Root of a user namespace may make groups of its own below.
bundle nest "$sh"'"mkdir /sys/fs/cgroup/sub && echo $$ > /sys/fs/cgroup/sub/cgroup.procs && cat /proc/self/cgroup"]
  | (.mounts[]|select(.type=="cgroup")|.options) |= map(if .=="ro" then "rw" else . end)
  | .linux.namespaces += [{"type":"user"}] | .linux.uidMappings=[{"containerID":0,"hostID":100000,"size":65536}] | .linux.gidMappings=.linux.uidMappings'
sd run --bundle $b/nest nest > /run/out 2>&1; is "a user namespace's root owns its group" "$(cat /run/out)" "0::/sub"
clean "its groups go with it"
# A frozen group takes no container.
mkdir -p $cg/berthfs/frozen; echo 1 > $cg/berthfs/frozen/cgroup.freeze
bundle frozen '.linux.cgroupsPath="/berthfs/frozen"'
$rt run --bundle $b/frozen frozen > /run/out 2>&1; has "a frozen group is refused" "$? $(cat /run/out)" "frozen"
rmdir $cg/berthfs/frozen
# Below a group with processes only what speaks of threads can be limited.
mkdir -p $cg/berthfs/busy; sleep 1000 & busy=$!; echo $busy > $cg/berthfs/busy/cgroup.procs; echo +cpu > $cg/berthfs/busy/cgroup.subtree_control
bundle below '.linux.cgroupsPath="/berthfs/busy/below" | .linux.resources.cpu={"shares":512}'
$rt run -d --bundle $b/below below > /run/out 2>&1 < /dev/null; is "below a group with processes a container runs" "$? $(cat /run/out)" "0 "
is "as a part of its threads" "$(cat $cg/berthfs/busy/below/cgroup.type $cg/berthfs/busy/below/cpu.weight)" "threaded
59"
is "it is listed" "$($rt ps --format json below | jq length)" 1
$rt delete --force below > /run/out 2>&1; is "and deleted" "$? $(cat /run/out)" "0 "
bundle heavy '.linux.cgroupsPath="/berthfs/busy/heavy" | .linux.resources.memory={"limit":67108864}'
$rt run --bundle $b/heavy heavy > /run/out 2>&1; has "a limit of memory is refused there" "$? $(cat /run/out)" "memory controller"
kill $busy; until_true "rmdir $cg/berthfs/busy"
rmdir $cg/berthfs; is "nothing is left of either" "$(ls -d $cg/berthfs 2>/dev/null) $($rt list -q)" " "
