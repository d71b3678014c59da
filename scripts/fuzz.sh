#!/usr/bin/env bash
# Fuzzes everything that reads bytes which a guest, or an image's author, wrote: each target of fuzz/ for so long.
#
# usage: fuzz.sh SECONDS [TARGET…]
#
# Exit status 1 at the first finding; the input that showed it is named, and lies in fuzz/artifacts/TARGET.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

[ $# -ge 1 ] || { sed -n '4s/^# //p' ../scripts/fuzz.sh >&2; exit 2; }
seconds=$1
shift

missing=0
lack() { # what, remedy
    printf 'missing: %s\n   what to do: %s\n' "$1" "$2" >&2
    missing=1
}
command -v cargo-fuzz >/dev/null || lack cargo-fuzz "cargo install --locked cargo-fuzz (about 3 minutes)"
command -v c++ >/dev/null || lack "a C++ compiler" "apt-get install g++"
for tool in qemu-img zstd lz4 xz lzop bzip2 mcopy; do
    command -v "$tool" >/dev/null || lack "$tool" "apt-get install qemu-utils zstd lz4 xz-utils lzop bzip2 mtools"
done
[ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v mke2fs)" ] || lack mke2fs "apt-get install e2fsprogs"
[ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v mkfs.vfat)" ] || lack mkfs.vfat "apt-get install dosfstools"
[ "$missing" = 0 ] || exit 1

# Sanitizers are for nightly compilers; a stable one takes them by this. They do without static linking.
export RUSTC_BOOTSTRAP=1
unset CARGO_BUILD_TARGET CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS

# The inputs to begin with, and that each is understood.
RUSTFLAGS='--cfg fuzzing' cargo test --quiet --locked --lib --test seeds
cargo fuzz build
[ $# -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
[ $# -eq 0 ] || targets=("$@")
trap 'rm -rf /dev/shm/kiln-fuzz-*' EXIT
for target in "${targets[@]}"; do
    echo "fuzzing $target for $seconds s"
    if ! ASAN_OPTIONS=detect_leaks=0 cargo fuzz run "$target" -- \
        -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -max_len=65536 -verbosity=0; then
        echo "$target found something: fuzz/artifacts/$target; look at it by: cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run $target FILE" >&2
        exit 1
    fi
done
