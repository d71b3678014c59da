#!/usr/bin/env bash
# Fuzzes everything that reads bytes which a guest, or an image's author, wrote. The minutes are of all processors, and
# shared out evenly; each target goes on from what it found before (tests/fuzz/corpus), and what it came to so far goes
# into tests/fuzz/LEDGER.md, also when the run is cut short.
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
for tool in qemu-img zstd lz4 xz lzop bzip2 mcopy mke2fs mkfs.vfat mkfs.xfs mkfs.btrfs; do
    command -v "$tool" >/dev/null ||
        lack "$tool" "apt-get install qemu-utils zstd lz4 xz-utils lzop bzip2 mtools e2fsprogs dosfstools xfsprogs btrfs-progs"
done
[ "$missing" = 0 ] || exit 1

# Sanitizers are for nightly compilers; a stable one takes them by this. They do without static linking.
export RUSTC_BOOTSTRAP=1
# They are built in a target/ of their own.
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS

# The inputs to begin with, and that each is understood.
RUSTFLAGS='--cfg fuzzing' cargo test --quiet --locked --lib --test seeds
cargo fuzz build --target "$(uname -m)-unknown-linux-gnu"
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
seconds=$((minutes * 60 * $(nproc) / ${#targets[@]}))
[ "$seconds" -ge 1 ] || { echo "error: $minutes minutes are too few for ${#targets[@]} targets" >&2; exit 2; }
trap 'rm -rf /dev/shm/kiln-fuzz-*' EXIT

# Runs in a shell of its own, whose time is that of the target.
one() { # target
    local log=target/$1.log is_cut='' result=0 edges user system
    echo "fuzzing $1 for $seconds s"
    mkdir -p "corpus/$1" "artifacts/$1"
    trap 'is_cut=1; kill -TERM $(jobs -p) 2>/dev/null || true' TERM
    # The program itself: `cargo fuzz run` would leave it running when it is told to end.
    ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0 "target/$(uname -m)-unknown-linux-gnu/release/$1" \
        -artifact_prefix="artifacts/$1/" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -max_len=65536 \
        "corpus/$1" >"$log" 2>&1 &
    wait $! || result=$?
    [ -z "$is_cut" ] || wait $! || result=$?
    times >"$log.time"
    if edges=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1); then
        read -r user system < <(awk -F'[ms ]+' 'END { print $1 * 60 + $2, $3 * 60 + $4 }' "$log.time")
        flock LEDGER.md ../../scripts/ledger.sh LEDGER.md "$1" "${edges#cov: }" "$user" "$system"
    fi
    case $result in
    0) ;;
    # Told to end, by a signal to the program (72) or to this shell.
    72 | 143) ;;
    *)
        tail -n 40 "$log" >&2
        echo "$1 found something: tests/fuzz/artifacts/$1; look at it by:" \
            "cd tests/fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run $1 FILE" >&2
        kill -USR1 $$
        ;;
    esac
}

# Whatever runs is told to end, and notes what it came to.
end() { # status
    trap '' INT TERM USR1
    kill -TERM $(jobs -pr) 2>/dev/null || true
    wait
    exit "$1"
}
trap 'end 130' INT TERM
trap 'end 1' USR1
for target in "${targets[@]}"; do
    while [ "$(jobs -pr | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
    one "$target" &
done
wait
