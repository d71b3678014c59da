#!/usr/bin/env bash
# Installs the Debian packages that a run lacks: only those, nothing removed or downgraded, and asked for before sudo.
#
# usage: packages.sh GROUP...
#   guest-images  what builds an image: mmdebstrap, gpgv, e2fsprogs (and uidmap, for who is not root)
#   tests         what the tests compare with: qemu-img, what packs kernels, what makes FAT and menus, and what a build without root needs
#
# Without root, and without a terminal to ask on, the one command is printed and the status is 1.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin

wanted=()
want() { # program, package
    command -v "$1" >/dev/null || [[ " ${wanted[*]} " == *" $2 "* ]] || wanted+=("$2")
}
for group in "$@"; do
    case $group in
    guest-images)
        want mmdebstrap mmdebstrap
        want gpgv gpgv
        want mke2fs e2fsprogs
        [ "$(id -u)" = 0 ] || want newuidmap uidmap
        ;;
    tests)
        want qemu-img qemu-utils
        want lz4 lz4
        want zstd zstd
        want xz xz-utils
        want lzop lzop
        want bzip2 bzip2
        want mkfs.vfat dosfstools
        want mcopy mtools
        want grub-mkconfig grub-common
        want newuidmap uidmap
        ;;
    *) sed -n '4,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
[ ${#wanted[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "missing: ${wanted[*]} (Debian's names): install them with this host's package manager" >&2
    exit 1
fi

install="apt-get install --no-install-recommends --no-remove ${wanted[*]}"
as=()
if [ "$(id -u)" != 0 ]; then
    if [ ! -t 0 ] || ! command -v sudo >/dev/null; then
        echo "missing: ${wanted[*]}" >&2
        echo "   what to do: as root: $install" >&2
        exit 1
    fi
    read -r -p "This needs the packages ${wanted[*]}. Install them with sudo? [y/N] " answer
    [[ $answer == [yY]* ]] || { echo "by hand, as root: $install" >&2; exit 1; }
    as=(sudo)
fi
echo "installing ${wanted[*]} (nothing is removed or downgraded)" >&2
quiet=(-qq -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root)
"${as[@]}" apt-get "${quiet[@]}" update
DEBIAN_FRONTEND=noninteractive "${as[@]}" apt-get "${quiet[@]}" install -y \
    --no-install-recommends --no-remove "${wanted[@]}" </dev/null >/dev/null
