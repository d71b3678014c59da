#!/bin/bash
# Makes dirty-{ext3,ext4}.img.gz: file systems as a forced stop leaves them, written by the kernel
# of the host, with a journal that goes round its end and revokes blocks. Needs root and /dev/loop.
#
# /boot/grub/menu.lst says which generation it is; the newest one is in the journal only.
set -euo pipefail
work=$(mktemp -d)
trap 'umount "$work/m" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/m"
here=$(dirname "$(readlink -f "$0")")

# Writes a new generation and makes it durable, as a package manager does.
write() {
    echo "generation $1" > "$work/m/boot/grub/menu.lst.new"
    sync "$work/m/boot/grub/menu.lst.new"
    mv "$work/m/boot/grub/menu.lst.new" "$work/m/boot/grub/menu.lst"
    sync "$work/m/boot/grub"
}

# Whether the log ends before it starts.
goes_round() {
    read -r start end < <(debugfs -R logdump "$work/crash" 2>/dev/null |
        sed -n 's/^Journal starts at block \([0-9]*\),.*/\1/p; s/.*at block \([0-9]*\): end of journal.*/\1/p' | xargs)
    [ "$end" -lt "$start" ]
}

for family in ext3 ext4; do
    truncate -s 8M "$work/img"
    mke2fs -q -F -t $family -b 1024 -J size=1 -E lazy_journal_init=0 "$work/img"
    mount -o loop,commit=300 "$work/img" "$work/m"
    mkdir -p "$work/m/boot/grub"
    for generation in $(seq 1 1000); do
        if [ $((generation % 10)) = 0 ]; then
            # Blocks of a folder become blocks of a file: the journal revokes them.
            mkdir "$work/m/gone"
            (cd "$work/m/gone" && seq -f 'a-name-that-fills-a-block-%g' 1 100 | xargs touch)
            sync -f "$work/m"
            rm -r "$work/m/gone"
            yes "file $generation" | head -c 50000 > "$work/m/data" || true
            sync -f "$work/m"
        fi
        write "$generation"
        cp --sparse=always "$work/img" "$work/crash"
        [ "$generation" -lt 60 ] || ! goes_round || break
    done
    umount "$work/m"
    echo "$family: generation $generation, log from $start to $end"
    gzip -9nc "$work/crash" > "$here/dirty-$family.img.gz"
    rm "$work/img"
done
