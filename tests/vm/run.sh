#!/bin/sh
# Runs the sandbox crate's tests of real containers in a small virtual machine, whose kernel and
# whose control groups (version 2 alone) are not those of this host.
#
#   tests/vm/run.sh [FILTER]...     names of tests, as for cargo test; all without
#
# The machine is QEMU without hardware virtualisation, so it works anywhere and is slow: some five
# minutes for all. Its kernel is Debian's for clouds, downloaded once by apt into target/vm;
# KERNEL_TREE names an unpacked package instead. Its root is a file system in memory with this
# host's own programs, and runtimes as far as they are in PATH. What is missing here is said, and is
# no failure: "skipped: ...". Nothing of the host is changed; nothing of the machine is left.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/target/vm
# The programs that the tests and the sandboxes in them call.
programs="sh bash awk basename cat chmod chown cp cut date dd df dirname env find getent grep head
hostname id ldd ls mkdir mkfs.ext4 mkswap mknod mount mv ps readlink rm sed seq setpriv setsid sleep
sort stat swapon tail tar tee test timeout touch tr true umount uname unshare wc"
# Runtimes are tried as far as they are installed.
runtimes="runc crun youki"

skip() {
    echo "skipped: $1"
    exit 0
}

for tool in qemu-system-x86_64 busybox cpio mkfs.ext4; do
    command -v $tool >/dev/null || skip "$tool is not installed (packages qemu-system-x86, busybox-static, cpio, e2fsprogs)"
done
[ "$(uname -m)" = x86_64 ] || skip "this is not an x86_64 host"
mkdir -p "$work"

kernel=${KERNEL_TREE:-$work/kernel}
if [ ! -d "$kernel/boot" ]; then
    name=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [ -n "$name" ] || skip "apt knows no linux-image-cloud-amd64, and KERNEL_TREE names no unpacked kernel package"
    (cd "$work" && apt-get download "$name" >/dev/null 2>&1) || skip "$name cannot be downloaded"
    dpkg-deb -x "$work/$name"_*.deb "$kernel"
fi
release=$(ls "$kernel/lib/modules")

cd "$root"
binary=$(cargo test -p sandbox --test oci --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"oci".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -n "$binary" ] || { echo "the tests do not compile"; exit 1; }
helper=${binary%/deps/*}/sandbox-helper

# The machine's root.
tree=$(mktemp -d)
chmod 755 "$tree"
trap 'rm -rf "$tree"' EXIT
put() {
    mkdir -p "$tree$(dirname "$2")"
    [ -e "$tree$2" ] || cp -L "$1" "$tree$2"
}
take() {
    put "$1" "$2"
    for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do put "$library" "$library"; done
}
which_file() {
    for place in $(echo "$PATH" | tr ':' ' '); do
        [ -f "$place/$1" ] && echo "$place/$1" && return
    done
    return 0
}
mkdir -p "$tree/usr/bin" "$tree/usr/sbin" "$tree/usr/lib" "$tree/usr/lib64"
for name in bin sbin lib lib64; do ln -s "usr/$name" "$tree/$name"; done
for name in dev etc home media mnt new opt proc root run srv sys tmp var/tmp; do mkdir -p "$tree/$name"; done
for name in $programs $runtimes; do
    path=$(which_file "$name")
    [ -z "$path" ] || take "$path" "/usr/bin/$name"
done
take "$binary" "$binary"
take "$helper" "$helper"
put "$(command -v busybox)" /usr/bin/busybox
strip "$tree$binary" "$tree$helper" 2>/dev/null || true
cp /etc/mke2fs.conf "$tree/etc/" 2>/dev/null || true
printf 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$tree/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
for module in loop overlay zram zsmalloc lzo-rle lzo_compress lzo_decompress; do
    find "$kernel/lib/modules/$release" -name "$module.ko*" | while read -r file; do
        put "$file" "/usr/${file#"$kernel"/}"
    done
done
busybox depmod -b "$tree/usr" "$release" 2>/dev/null || true
install -m 755 "$here/init.sh" "$tree/init"
printf '%s\n' "$binary" "$*" >"$tree/order"

(cd "$tree" && find . | cpio -o -H newc --quiet) >"$work/root.cpio"
log=$work/log
# No input: the console is the machine's only way out.
timeout "${VM_TIMEOUT:-900}" qemu-system-x86_64 -M pc -accel tcg,thread=multi \
    -cpu max -smp 2 -m 3G -nodefaults -no-user-config -display none -serial stdio -no-reboot \
    -kernel "$kernel/boot/vmlinuz-$release" -initrd "$work/root.cpio" \
    -append "console=ttyS0 quiet reboot=t panic=-1 rdinit=/init" </dev/null | tee "$log" | sed -u 's|\r||'
rm -f "$work/root.cpio"
grep -q '^vm: 0' "$log" || { echo "the tests failed in the virtual machine"; exit 1; }
