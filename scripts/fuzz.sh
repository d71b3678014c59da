#!/usr/bin/env bash
# Fuzzes everything that reads bytes which a guest, or an image's author, wrote. The minutes are of all processors, and
# shared out evenly; each target goes on from what it found before (tests/fuzz/corpus), and what it came to so far goes
# into tests/fuzz/LEDGER.md.
#
# usage: fuzz.sh MINUTES [TARGET…]
#
# Exit status 1 at the first finding; the input that showed it is named, and lies in tests/fuzz/artifacts/TARGET.
set -euo pipefail
cd "$(dirname "$0")/../tests/fuzz"

[ $# -ge 1 ] || { sed -n '6s/^# //p' ../../scripts/fuzz.sh >&2; exit 2; }
minutes=$1
shift

missing=0
lack() { # what, remedy
    printf 'missing: %s\n   what to do: %s\n' "$1" "$2" >&2
    missing=1
}
command -v cargo-fuzz >/dev/null || lack cargo-fuzz "cargo install --locked cargo-fuzz (about 3 minutes)"
command -v c++ >/dev/null || lack "a C++ compiler" "apt-get install g++"
export PATH=$PATH:/usr/sbin:/sbin
for tool in qemu-img zstd lz4 xz lzop bzip2 mcopy mke2fs mkfs.vfat; do
    command -v "$tool" >/dev/null ||
        lack "$tool" "apt-get install qemu-utils zstd lz4 xz-utils lzop bzip2 mtools e2fsprogs dosfstools"
done
[ "$missing" = 0 ] || exit 1

# Sanitizers are for nightly compilers; a stable one takes them by this. They do without static linking.
export RUSTC_BOOTSTRAP=1
# They are built in a target/ of their own.
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS

# The inputs to begin with, and that each is understood.
RUSTFLAGS='--cfg fuzzing' cargo test --quiet --locked --lib --test seeds
cargo fuzz build
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
export seconds=$((minutes * 60 * $(nproc) / ${#targets[@]}))
[ "$seconds" -ge 1 ] || { echo "error: $minutes minutes are too few for ${#targets[@]} targets" >&2; exit 2; }
trap 'rm -rf /dev/shm/kiln-fuzz-*' EXIT

one() { # target
    local log=target/$1.log user=0 system=0 edges TIMEFORMAT='%U %S'
    echo "fuzzing $1 for $seconds s"
    { time ASAN_OPTIONS=detect_leaks=0 cargo fuzz run "$1" -- -max_total_time="$seconds" -timeout=25 \
        -rss_limit_mb=2048 -max_len=65536 >"$log" 2>&1; } 2>"$log.time" || {
        tail -n 40 "$log" >&2
        echo "$1 found something: tests/fuzz/artifacts/$1; look at it by:" \
            "cd tests/fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run $1 FILE" >&2
        exit 255
    }
    read -r user system <"$log.time"
    edges=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
    flock LEDGER.md ../../scripts/ledger.sh LEDGER.md "$1" "${edges#cov: }" "$user" "$system"
}
export -f one
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -euo pipefail -c 'one {}'
