#!/usr/bin/env bash
# Installs the Debian packages that a run lacks: only those, nothing removed or downgraded, and asked for before sudo.
#
# usage: packages.sh GROUP...
#   guest-images  what builds an image: mmdebstrap, e2fsprogs (and uidmap, for who is not root)
#   guests        what runs guests: nothing with hardware virtualization, else QEMU for the software machine
#   tests         what the tests look through: qemu-img, QEMU for the tests of the software machine
#
# Without root, and without a terminal to ask on, the one command is printed and the status is 1.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin

wanted=()
want() { # program, package
    command -v "$1" >/dev/null || [[ " ${wanted[*]} " == *" $2 "* ]] || wanted+=("$2")
}
qemu() { want qemu-system-x86_64 qemu-system-x86; }
for group in "$@"; do
    case $group in
    guest-images)
        want mmdebstrap mmdebstrap
        want mke2fs e2fsprogs
        [ "$(id -u)" = 0 ] || want newuidmap uidmap
        ;;
    guests)
        grep -qwE 'svm|vmx' /proc/cpuinfo && [ -r /dev/kvm ] && [ -w /dev/kvm ] || qemu
        ;;
    tests)
        want qemu-img qemu-utils
        grep -qwE 'svm|vmx' /proc/cpuinfo && [ -r /dev/kvm ] && [ -w /dev/kvm ] || qemu
        ;;
    *) sed -n '4,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
[ ${#wanted[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "missing: ${wanted[*]} (Debian's names): install them with this host's package manager" >&2
    exit 1
fi

# QEMU's packages must come from one release: where qemu-utils is from backports, so is the rest. The lists are
# private to this run, made from the mirror that this host is configured for: /etc/apt stays as it is.
. /etc/os-release
lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT
mkdir -p "$lists/parts" "$lists/state/partial"
release=()
if [[ " ${wanted[*]} " == *" qemu-"* && $VERSION_CODENAME == bookworm ]]; then
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | sed -nE 's/^URIs: *([^ ]+).*/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]+) .*/\2/p' |
        grep -E 'debian/?$' | head -n 1) || true
    [ -n "$mirror" ] || { echo "no Debian mirror is configured in /etc/apt" >&2; exit 1; }
    printf 'Types: deb\nURIs: %s\nSuites: bookworm bookworm-updates bookworm-backports\nComponents: main\nSigned-By: %s\n' \
        "$mirror" /usr/share/keyrings/debian-archive-keyring.gpg >"$lists/parts/kiln.sources"
    release=(-t bookworm-backports)
    options=(-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$lists/parts" -o "Dir::State::Lists=$lists/state")
else
    options=()
fi
[[ " ${wanted[*]} " != *" qemu-system-x86 "* ]] || wanted+=(seabios)

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
"${as[@]}" apt-get "${quiet[@]}" "${options[@]}" update
DEBIAN_FRONTEND=noninteractive "${as[@]}" apt-get "${quiet[@]}" "${options[@]}" install -y \
    --no-install-recommends --no-remove "${release[@]}" "${wanted[@]}" </dev/null >/dev/null
