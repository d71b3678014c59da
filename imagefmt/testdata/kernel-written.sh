#!/bin/bash
# Makes {xfs-v4,xfs-v5,dirty-xfs-v5,btrfs,btrfs-mixed,dirty-btrfs}.img.gz: XFS and Btrfs that Linux itself wrote, whose
# files lie in many pieces, have holes, room that was set aside, shared blocks and long links; those of Btrfs lie in
# subvolumes, and some are packed. The dirty ones are as a forced stop leaves them: their newest menu is in the log
# only. No root and no loop device is needed: the kernel is Debian's user-mode-linux, LINUX in the environment
# (linux.uml by default); mkfs.xfs and xfs_io come from xfsprogs, mkfs.btrfs and btrfs from btrfs-progs.
#
# usage: kernel-written.sh [xfs|btrfs]
#
# The tests know what is in them.
set -euo pipefail
linux=${LINUX:-linux.uml}
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/init" <<'INIT'
#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs none /mnt
mkdir /mnt/m
mount -t $KIND /dev/ubda /mnt/m || halt -f
cd /mnt/m
if [ $KIND = btrfs ]; then
    btrfs -q subvolume create @
    mkdir -p @snapshots/1
    cd @
fi
mkdir -p boot/grub2 etc
echo 'menuentry a { linux /boot/vmlinuz }' >boot/grub2/grub.cfg

# A file in pieces: every other block of 4 KiB is written, and then punched out of its neighbour.
yes 'what the file in pieces says' | head -c 1200000 >boot/pieces
sync
n=0
while [ $n -lt 1200000 ]; do
    xfs_io -c "fpunch $n 4096" boot/pieces
    n=$((n + 8192))
done
# Room that was set aside, between two words.
xfs_io -f -c 'falloc 0 1m' -c 'pwrite -q -S 0x61 0 5' -c 'pwrite -q -S 0x7a 600000 5' boot/aside
# A hole, and one word far behind it.
xfs_io -f -c 'pwrite -q -S 0x62 5000000000 3' -c 'truncate 5000000010' boot/far
cp --reflink=auto boot/pieces boot/shared
# Links to the same file by a way of every length there is.
for length in 10 60 300 340 500 900 1015; do
    way=$(head -c $((length - 9)) /dev/zero | tr '\0' /)
    ln -s "../boot$way"aside etc/link-$length 2>/dev/null || true
done
# A folder that grew while others did.
mkdir many
n=0
while [ $n -lt 600 ]; do
    echo $n >many/file-$n.txt
    : >etc/x$n
    n=$((n + 1))
done
rm etc/x*
if [ $KIND = btrfs ]; then
    for way in zlib lzo zstd; do
        mkdir -p packed/$way
        btrfs property set packed/$way compression $way
        seq 30000 >packed/$way/long
        seq 400 >packed/$way/short
    done
    sync
    for way in zlib lzo zstd; do
        # In the middle of an extent, so that the rest of it is two parts.
        printf 'what was written in between' | dd of=packed/$way/long bs=1 seek=100001 conv=notrunc status=none
        xfs_io -f -c "reflink packed/$way/long 65536 4096 12288" packed/$way/part
    done
    btrfs -q subvolume create var
    echo 'in var' >var/x
    echo before >etc/x
    btrfs -q subvolume snapshot . ../@snapshots/1/snapshot
    echo after >etc/x
    [ ! -e "$WORK/default" ] || btrfs subvolume set-default ../@snapshots/1/snapshot
fi
sync
if [ -e "$WORK/dirty" ]; then
    # All that came before goes to where it belongs; what follows is in the log only.
    fsfreeze -f .
    fsfreeze -u .
    mv boot/grub2/grub.cfg boot/grub2/grub.old
    echo 'menuentry b { linux /boot/vmlinuz }' >boot/grub2/grub.cfg
    sync boot/grub2/grub.cfg boot/grub2
    halt -f -n
fi
cd /
umount /mnt/m
halt -f
INIT
chmod +x "$work/init"

# kind, name, command that makes the file system
make() {
    "${@:3}" "$work/image" >/dev/null 2>&1
    timeout 300 "$linux" mem=512M ro root=/dev/root rootfstype=hostfs rootflags=/ init="$work/init" \
        "ubd0=$work/image" KIND="$1" WORK="$work" con=null con0=null,fd:1 quiet </dev/null >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; exit 1; }
    gzip -9nc "$work/image" >"$here/$2.img.gz"
    rm -f "$work/image" "$work/default" "$work/dirty"
}
# name, options
xfs() {
    truncate -s 24M "$work/image"
    make xfs "$1" mkfs.xfs -q --unsupported -b size=1024 -l size=4m "${@:2}"
}
# name, MiB, options
btrfs() {
    truncate -s "$2M" "$work/image"
    make btrfs "$1" mkfs.btrfs -q "${@:3}"
}
if [ "${1:-xfs}" = xfs ]; then
    xfs xfs-v5
    xfs xfs-v4 -m crc=0 -n ftype=0 -i size=256
    touch "$work/dirty"
    xfs dirty-xfs-v5
fi
if [ "${1:-btrfs}" = btrfs ]; then
    btrfs btrfs 48 -m single
    touch "$work/default"
    btrfs btrfs-mixed 24 -M -n 4096 --csum xxhash
    touch "$work/dirty"
    btrfs dirty-btrfs 24 -M -n 4096
fi
