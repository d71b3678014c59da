#!/usr/bin/env bash
# Runs the tests (or the benchmark) that need real guests, where guests can run.
#
# usage: guests.sh BIN test [FILE...]     FILE: only these of tests/tests
#        guests.sh BIN bench OUT.json
#
# BIN is the folder of the built programs. The store of the run is in target/guests: nothing of the user's is touched.
# TEST_FLAGS is handed to each test program.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=$(realpath "$1") WORK=$PWD/target/guests
export BIN WORK
what=$2
shift 2

if scripts/has-kvm.sh; then home=$WORK/store; else home=$WORK/home; fi
for image in tiny debian-12-pv; do
    KILN_HOME=$home "$BIN/kiln" -q image list --filter "name=$image" | grep -q . ||
        KILN_HOME=$home "$BIN/kiln" image build "$image"
done

case $what in
bench)
    cargo build --quiet --locked --release -p kiln-tests --bin bench
    scripts/inside.sh "$BIN/bench" "$PWD/$1"
    ;;
test)
    # A kiln with crash points, for the tests that kill it at each step.
    cargo build --quiet --locked -p kiln
    mkdir -p "$WORK/mortal"
    ln -f "target/${CARGO_BUILD_TARGET:-}/debug/kiln" "$BIN/kiln-vmm" "$BIN/kiln-agent" "$WORK/mortal"
    export MORTAL=$WORK/mortal/kiln
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/scripts/inside.sh
    [ $# -gt 0 ] || set -- $(cd tests/tests && for file in *.rs; do echo "${file%.rs}"; done)
    cargo test --quiet --locked --no-run -p kiln-tests --tests
    status=0
    for file in "$@"; do
        run() { cargo test --locked -p kiln-tests --test "$file" -- --test-threads 2 ${TEST_FLAGS:-}; }
        run && continue
        # An emulated CPU hangs a guest now and then. A failure that a fresh machine does not repeat is the machine's.
        if scripts/has-kvm.sh; then status=1; continue; fi
        echo "warning: $file failed; it is run once more, in a fresh software machine" >&2
        KILN_HOME=$home "$BIN/kiln" machine stop || true
        run || status=1
    done
    exit $status
    ;;
esac
