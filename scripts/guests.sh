#!/usr/bin/env bash
# Runs the tests (or benchmarks) that need real guests, where guests can run.
#
# usage: guests.sh BIN test [FILE...]     FILE: only these of tests/tests
#        guests.sh BIN bench WHAT OUT.json     with BIN/bench
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
need() { # image, what builds it
    local name=$1
    shift
    KILN_HOME=$home "$BIN/kiln" -q image list --filter "name=$name" | grep -q . ||
        KILN_HOME=$home "$BIN/kiln" image build "$@"
}
need tiny tiny
need debian-12-pv debian-12-pv

# The longest that one file of tests may take, in seconds: several times what the slowest takes on two cores.
limit=900
running=
trap 'if [ -n "$running" ]; then kill -TERM "$running" 2>/dev/null; end_guests; fi; exit 130' INT TERM

# Ends what tests have left running: the software machine with all that is in it, or here their guests.
end_guests() {
    if ! scripts/has-kvm.sh; then
        KILN_HOME=$home "$BIN/kiln" machine stop || true
        return
    fi
    for process in /proc/[0-9]*; do
        if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q "kiln-vmm .*$WORK/store/tmp/"; then
            kill -KILL "${process#/proc/}" 2>/dev/null || true
        fi
    done
}

# Runs one file of tests within the limit. Status 125: the software machine itself failed meanwhile.
attempt() { # file
    local began=$SECONDS result=0
    timeout --kill-after 20 "$limit" cargo test --locked -p kiln-tests --test "$1" -- --test-threads 2 ${TEST_FLAGS:-} &
    running=$!
    wait "$running" || result=$?
    running=
    if [ $result != 0 ] && [ $((SECONDS - began)) -ge $limit ]; then
        echo "error: test failed: $1 was still running after $limit s and was ended" >&2
        end_guests
        return 1
    fi
    return $result
}

# A failure is a failure, unless the emulated computer around the guests died, froze or fell silent: then the command
# in it breaks off with status 125, which no test has, and the file is run once more, in a fresh machine.
run_file() { # file
    local result=0
    attempt "$1" || result=$?
    if [ $result = 125 ] && ! scripts/has-kvm.sh; then
        echo "warning: the software machine failed while $1 ran: it is run once more, in a fresh one" >&2
        end_guests
        result=0
        attempt "$1" || result=$?
        [ $result != 125 ] || echo "error: test failed: the software machine failed again while $1 ran" >&2
    fi
    return $result
}

case $what in
bench)
    scripts/inside.sh "$BIN/bench" "$1" "$2"
    ;;
test)
    # A kiln with crash points, for the tests that kill it at each step.
    cargo build --quiet --locked -p kiln
    mkdir -p "$WORK/mortal"
    ln -f "target/${CARGO_BUILD_TARGET:-}/debug/kiln" "$BIN/kiln-vmm" "$BIN/kiln-agent" "$WORK/mortal"
    export MORTAL=$WORK/mortal/kiln
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/scripts/inside.sh
    [ $# -gt 0 ] || set -- $(cd tests/tests && for file in *.rs; do echo "${file%.rs}"; done)
    # The next Debian, for the one file that launches it, and a disk in the cache, for the one that builds from there.
    [[ " $* " != *" images "* ]] || need debian-13-pv debian-12-pv --suite trixie
    [[ " $* " != *" owner "* ]] || DISK=$(KILN_HOME=$home "$BIN/kiln" image build tiny --cache-only)
    export DISK=${DISK:-}
    cargo test --quiet --locked --no-run -p kiln-tests --tests
    status=0
    for file in "$@"; do
        run_file "$file" || status=1
    done
    exit $status
    ;;
esac
