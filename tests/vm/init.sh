#!/usr/bin/busybox sh
# The first process of the virtual machine: puts a system with version 2 control groups around the
# tests, runs them, says how they ended ("vm: 0"), and turns the machine off.
busybox=/usr/bin/busybox
if [ "${1:-}" != second ]; then
    # No container can leave the root that the kernel unpacked; bound over itself, it can.
    $busybox mount --bind / /new
    cd /new || exit 1
    $busybox mount --move . /
    exec $busybox chroot . /init second
fi
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root RUST_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/null >/dev/console 2>&1
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir -m 1777 /run/tmp
chmod 1777 /tmp
export TMPDIR=/run/tmp
hostname vm
$busybox ip link set lo up
for module in loop overlay lzo-rle zram; do $busybox modprobe $module; done
if [ -e /sys/block/zram0 ]; then
    echo 256M >/sys/block/zram0/disksize
    mkswap /dev/zram0 >/dev/null
    swapon /dev/zram0
fi
{ read -r binary; read -r filters; } </order
echo "vm: $(uname -r), control groups: $(cat /sys/fs/cgroup/cgroup.controllers), swap: $(wc -l </proc/swaps)"
# One at a time: without hardware virtualisation nothing is gained by more, and bounds in time are kept.
$binary --test-threads=1 --nocapture $filters
echo "vm: $?"
for group in $(find /sys/fs/cgroup/hostel -type d 2>/dev/null); do echo "vm: left over: $group"; done
$busybox reboot -f
