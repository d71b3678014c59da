#!/usr/bin/env bash
# Checks what a build and its guests need, and says what is missing and what to do about it.
#
# usage: preflight.sh [--disk GIB] [--memory GIB]
#
# What target/ holds already counts as room. Changes nothing. Exit status 0 when all is there, 1 otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."

need_disk=2 need_memory=4
while [ $# -gt 0 ]; do
    case $1 in
    --disk) need_disk=$2; shift 2 ;;
    --memory) need_memory=$2; shift 2 ;;
    *) sed -n '4s/^# //p' "$0" >&2; exit 2 ;;
    esac
done

missing=0
lack() { # what, remedy
    printf 'missing: %s\n   what to do: %s\n' "$1" "$2" >&2
    missing=1
}

want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
    lack "Rust $want or later" "install it with rustup (Debian's own rustc may be too old)"
elif ! version=$(rustc --version 2>/dev/null); then
    lack "Rust $want or later (rustc is there and does not run)" "rustup default stable"
else
    have=$(cut -d' ' -f2 <<<"$version")
    oldest=$(printf '%s\n%s\n' "$want" "${have%%-*}" | sort -V | head -n 1)
    [ "$oldest" = "$want" ] ||
        lack "Rust $want or later (this is $have, $(command -v rustc))" \
            "install rustup's Rust, and see that ~/.cargo/bin comes first in PATH"
fi
command -v cc >/dev/null || lack "a C compiler (for SQLite)" "apt-get install build-essential"
[ "$(uname -m)" = x86_64 ] || lack "an x86_64 host (this is $(uname -m))" "arm64 hosts are not supported yet"

free=$(df -Pk . | awk 'NR == 2 { print $4 }')
held=$(du -sk target 2>/dev/null | cut -f1) || true
# What target/ holds is room for the same once more, but nothing can be built without any.
[ $((free + held)) -ge $((need_disk << 20)) ] && [ "$free" -ge $((1 << 20)) ] ||
    lack "$need_disk GiB of disk space here ($((free >> 20)) GiB are free, and target/ holds $((held >> 20)) GiB already)" \
        "free some space, or clone to a larger disk"
memory=$(awk '/^MemTotal:/ { print int($2 / 1048576 + 0.5) }' /proc/meminfo)
[ "$memory" -ge "$need_memory" ] ||
    lack "$need_memory GiB of memory (this host has $memory GiB)" "use a larger host"
exit $missing
