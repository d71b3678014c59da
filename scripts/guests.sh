#!/usr/bin/env bash
# Runs the tests (or benchmarks) that need real guests, where guests can run.
#
# usage: guests.sh BIN test [FILE...]            FILE: only these of tests/tests
#                                                or image_build, software_machine: of cli/tests, on this host;
#                                                or micro: what units.sh calls so
#        guests.sh BIN bench WHAT OUT.json       with BIN/bench
#
# BIN is the folder of the built programs. The stores of the run are in target/guests (with SUITE=trixie, say, in
# target/guests-trixie, and all images are of that Debian): nothing of the user's is touched.
# TEST_FLAGS is handed to each test program. With GUESTS=all, an emulated processor tests what takes it longest, too.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=$(realpath "$1") WORK=$PWD/target/guests${SUITE:+-$SUITE}
export BIN WORK
what=$2
shift 2

# Files of tests are shared out to lanes. An emulated computer has one processor, so a second one, with a store of its
# own, halves the time where there are cores and memory for it. Real virtualization needs one lane: its tests run
# side by side.
lanes() {
    local memory
    memory=$(awk '/^MemTotal/ { print int($2 / 1048576) }' /proc/meminfo)
    if scripts/has-kvm.sh || [ "$(nproc)" -lt 2 ] || [ "$memory" -lt 14 ]; then echo 1; else echo 2; fi
}

# What takes an emulated processor so long that it is tested there only if GUESTS=all asks for it; real ones always do.
long=(by_hand cloud_init foreign_disk i386 prompts verify)

# All files of tests with real guests that are run if none is named.
all_files() {
    local file name
    for file in tests/tests/*.rs; do
        name=$(basename "$file" .rs)
        if [ "${GUESTS:-}" != all ] && [[ " ${long[*]} " == *" $name "* ]] && ! scripts/has-kvm.sh; then
            echo "not run on an emulated processor: $name (make test GUESTS=all runs it)" >&2
        else
            echo "$name"
        fi
    done
}

# What takes longest comes first, so that no lane is left with it at the end.
in_order() {
    local first=(micro software_machine foreign_disk prompts verify firmware launch hotplug debian menus save freeze bake images exec) file
    for file in "${first[@]}"; do [[ " $* " != *" $file "* ]] || echo "$file"; done
    for file in "$@"; do [[ " ${first[*]} " == *" $file "* ]] || echo "$file"; done
}

# The path of a disk in the cache.
cached_disk() { KILN_HOME=$WORK/home "$BIN/kiln" image build tiny --suite "${SUITE:-bookworm}" --cache-only; }

case $what in
bench)
    # No guest that another benchmark left runs beside this one.
    scripts/has-kvm.sh || KILN_HOME=$WORK/home "$BIN/kiln" machine stop
    scripts/lane.sh "$WORK" seed "$1"
    DISK=$(cached_disk)
    export DISK
    # In a folder of its own: one that broke off leaves what it had there.
    # shellcheck disable=SC2016 # where it runs
    scripts/inside.sh sh -ec 'TMPDIR=$TMPDIR/bench; rm -rf "$TMPDIR"; mkdir "$TMPDIR"; exec "$@"' \
        sh "$BIN/bench" "$1" "$2"
    ;;
test)
    # The same programs as test.sh runs, so that nothing is built twice.
    cargo test --quiet --locked --no-run --workspace
    # A kiln with crash points, for the tests that kill it at each step.
    mkdir -p "$WORK/mortal"
    ln -f "target/${CARGO_BUILD_TARGET:-}/debug/kiln" "$BIN/kiln-vmm" "$BIN/kiln-agent" "$WORK/mortal"
    export MORTAL=$WORK/mortal/kiln
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=scripts/inside.sh
    # Guests of a few instructions have run already where this host has a /dev/kvm.
    micro=micro
    ! scripts/has-kvm.sh micro || micro=
    [ $# -gt 0 ] || set -- $micro image_build software_machine $(all_files)
    # A disk in the cache, for the one file that builds from there.
    [[ " $* " != *" owner "* ]] || DISK=$(cached_disk)
    export DISK=${DISK:-}
    rm -rf "$WORK/waiting"
    mkdir -p "$WORK/waiting"
    n=10
    for file in $(in_order "$@"); do touch "$WORK/waiting/$((n++)).$file"; done
    running=()
    trap 'kill -TERM "${running[@]}" 2>/dev/null; wait; exit 130' INT TERM
    for lane in $(seq "$(lanes)"); do
        scripts/lane.sh "$WORK$([ "$lane" = 1 ] || echo "/$lane")" tests "$WORK/waiting" &
        running+=($!)
    done
    status=0
    for lane in "${running[@]}"; do wait "$lane" || status=1; done
    if [ -n "$(ls "$WORK/waiting")" ]; then
        echo "error: test failed: not run: $(ls "$WORK/waiting" | tr '\n' ' ')" >&2
        status=1
    fi
    exit $status
    ;;
esac
