# Users without privileges: one with subordinate ids (many), one without (single); without a group
# of their own, with one that is delegated, and under their own systemd.
as() { user=$1; shift; runuser -u $user -- env -i PATH=$PATH HOME=/home/$user XDG_RUNTIME_DIR=/run/user/$(id -u $user) BERTH_AS_USER=1 "$@"; }
systemctl start dbus.socket systemd-logind user@1000 user@1001 2>/run/out || no "users' managers start" "$(cat /run/out)"
until_true '[ -S /run/user/1000/bus ] && [ -S /run/user/1001/bus ]'
for user in many single; do
  as $user sh /run/berth/user.sh none 2>&1
  # A service of the user's manager lies in a tree that is the user's.
  as $user systemd-run --user --quiet --wait -p Delegate=yes -p StandardOutput=file:/home/$user/out -p StandardError=file:/home/$user/err \
    --setenv=BERTH_AS_USER=1 --setenv=PATH=$PATH sh /run/berth/user.sh delegated || no "$user: a delegated service runs" "$(cat /home/$user/err)"
  cat /home/$user/out
done
