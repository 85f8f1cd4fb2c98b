# The systemd driver where version 1 has the controllers and version 2 is mounted beside them.
cg=/sys/fs/cgroup
[ -d $cg/unified ] || no "the layout is hybrid" "$(ls $cg)"
bundle limits '.linux.resources={
  "devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":254,"minor":0,"access":"r"}],
  "memory":{"limit":67108864,"swap":100663296},"pids":{"limit":33},
  "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0","mems":"0"}} | .process.capabilities.bounding+=["CAP_MKNOD"]
  | .process.capabilities.permitted+=["CAP_MKNOD"] | .process.capabilities.effective+=["CAP_MKNOD"]'
old() { cat $cg/$1/berthtest.slice/berth-limits.scope/$2; }
limits_in_files() { echo $(old memory memory.limit_in_bytes) $(old memory memory.memsw.limit_in_bytes) $(old pids pids.max) $(old cpu cpu.shares) $(old cpu cpu.cfs_quota_us) $(old cpuset cpuset.cpus); }
left() { echo "$(scopes) $(find $cg -type d -name 'berth-*.scope' | wc -l) $($rt list -q | wc -l)"; }
if up limits; then
  is "hybrid: the scope runs" "$(prop limits ActiveState) $(prop limits Slice) $(prop limits Delegate)" "active berthtest.slice yes"
  is "hybrid: systemd knows the limits" "$(prop limits MemoryLimit) $(prop limits TasksMax) $(prop limits CPUShares) $(prop limits DevicePolicy)" "67108864 33 512 strict"
  wanted="67108864 100663296 33 512 50000 0"
  is "hybrid: limits are in the files" "$(limits_in_files)" "$wanted"
  is "hybrid: devices as listed" "$(devices)" "$listed"
  systemctl daemon-reload
  is "hybrid: limits survive a daemon-reload" "$(limits_in_files)" "$wanted"
  is "hybrid: device rules survive a daemon-reload" "$(devices)" "$listed"
  sd update --memory 134217728 --memory-swap 201326592 --pids-limit 44 limits > /run/out 2>&1; is "hybrid: update" "$? $(cat /run/out)" "0 "
  systemctl daemon-reload
  is "hybrid: updates survive a daemon-reload" "$(limits_in_files)" "134217728 201326592 44 512 50000 0"
  echo '{"devices":[{"allow":false,"access":"rwm"}]}' > /run/r.json
  sd update -r /run/r.json limits > /run/out 2>&1; is "hybrid: an update leaves device rules alone" "$? $(devices)" "0 $listed"
  sd pause limits; is "hybrid: paused" "$(old freezer freezer.state) $(sd state limits | jq -r .status)" "FROZEN paused"
  down limits
fi
clean "hybrid: nothing is left of a paused container"
bundle small '.linux.resources.memory={"limit":4194304} | .process.args=["true"]'
sd run --bundle $b/small small > /run/out 2>&1; is "hybrid: a container with 4 MiB runs" "$? $(cat /run/out)" "0 "
bundle badset '.linux.resources.cpu={"cpus":"77"}'
sd run --bundle $b/badset badset > /run/out 2>&1; has "hybrid: CPUs that do not exist are refused" "$? $(cat /run/out)" "cpu"
clean "hybrid: and leave nothing"
