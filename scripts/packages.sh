#!/usr/bin/env bash
# Installs the packages that a run lacks: only those, nothing removed or downgraded, and asked for before sudo.
#
# usage: packages.sh GROUP...
#   guest-images  what builds an image: mmdebstrap, gpgv, e2fsprogs (and newuidmap, for who is not root)
#   tests         what the tests compare with: qemu-img, what packs kernels, what makes FAT, XFS, Btrfs, menus and keys, and what a build without root needs
#
# Without root, and without a terminal to ask on, the one command is printed and the status is 1; so it is on hosts
# other than Debian and those like it. OS_RELEASE names another os-release(5) than the host's.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin

# The column of guest-images/src/host/packages.tsv that is this host's, and how its packages are installed.
is() { grep -Eq "^ID(_LIKE)?=.*\b($1)\b" "${OS_RELEASE:-/etc/os-release}" 2>/dev/null; }
if is 'debian|ubuntu'; then column=2 install='apt-get install --no-install-recommends --no-remove'
elif is 'fedora|rhel|centos'; then column=3 install='dnf install --setopt=install_weak_deps=False'
elif is arch; then column=4 install='pacman -S --needed'
elif is 'suse|opensuse'; then column=5 install='zypper install --no-recommends'
else column=1 install="with this host's package manager: install"; fi

wanted=()
want() { # program...
    local program package
    for program in "$@"; do
        command -v "$program" >/dev/null && continue
        package=$(awk -F'\t' -v p="$program" -v c=$column '$1 == p { print ($c == "-" ? p : $c) }' \
            guest-images/src/host/packages.tsv)
        [[ " ${wanted[*]} " == *" $package "* ]] || wanted+=("$package")
    done
}
for group in "$@"; do
    case $group in
    guest-images)
        want mmdebstrap gpgv mke2fs
        [ "$(id -u)" = 0 ] || want newuidmap
        ;;
    tests) want qemu-img lz4 zstd xz lzop bzip2 mkfs.vfat mcopy mkfs.xfs mkfs.btrfs grub-mkconfig newuidmap ssh-keygen ;;
    *) sed -n '4,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
[ ${#wanted[@]} -gt 0 ] || exit 0

install="$install ${wanted[*]}"
as=()
can_ask() { [ -t 0 ] && command -v sudo >/dev/null; }
if [ $column != 2 ] || { [ "$(id -u)" != 0 ] && ! can_ask; }; then
    echo "missing: ${wanted[*]}" >&2
    echo "   what to do: as root: $install" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    read -r -p "This needs the packages ${wanted[*]}. Install them with sudo? [y/N] " answer
    [[ $answer == [yY]* ]] || { echo "by hand, as root: $install" >&2; exit 1; }
    as=(sudo)
fi
echo "installing ${wanted[*]} (nothing is removed or downgraded)" >&2
quiet=(-qq -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root)
"${as[@]}" apt-get "${quiet[@]}" update
DEBIAN_FRONTEND=noninteractive "${as[@]}" apt-get "${quiet[@]}" install -y \
    --no-install-recommends --no-remove "${wanted[@]}" </dev/null >/dev/null
