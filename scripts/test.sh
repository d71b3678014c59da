#!/usr/bin/env bash
# Every test: units and micro guests first, then images, the software machine, and real guests, where they can run,
# side by side.
#
# usage: test.sh [BIN]        BIN: the folder of the built programs; without it, says what will be done and its cost
#
# All steps are run, whatever fails; the status is 1 if anything did. TEST_FLAGS is handed to each test program.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ $# = 0 ]; then
    cat <<'E2'
All tests: units, properties and micro guests; images; the software machine; real guests.

  downloads     about 60 MB of Rust crates and 350 MB of Debian packages the first time
  disk          about 8 GB in target/, 1 GB in the cache
  takes         on two cores without hardware virtualization 40 minutes the first time, then 25; much less with it

E2
    exit
fi
BIN=$(realpath "$1") WORK=$PWD/target/guests${SUITE:+-$SUITE} status=0
export BIN WORK
trap 'for home in "$WORK/home" "$WORK"/*/home; do KILN_HOME=$home "$BIN/kiln" machine stop >/dev/null 2>&1; done' EXIT

# Each whole run is noted, for scripts/ten-runs.sh: when, of which commit, what came of it, the suite of its guests.
note() {
    case ${TEST_FLAGS:-} in '' | --show-output) ;; *) return ;; esac
    local commit
    commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
    [ -z "$(git status --porcelain 2>/dev/null)" ] || commit+=-with-changes
    mkdir -p target/runs
    echo "$(date -u +%FT%TZ) $commit $status ${SUITE:-bookworm}" >>target/runs/test
}

echo "== units, properties, micro guests"
# Programs of tests are always those of the whole workspace: built for one crate alone, all that it depends on would
# have other features, and be built anew.
run() { cargo test --locked --workspace --no-fail-fast "$@" -- ${TEST_FLAGS:-} "${only[@]}" || status=1; }
files_of() { # folder: the files of tests in it, as options
    local file
    for file in "$1"/*.rs "$1"/*/main.rs; do
        [ -e "$file" ] || continue
        file=${file%/main.rs}
        echo "--test=$(basename "$file" .rs)"
    done
}
# Those with guests of a few instructions, by their names and files; the rest wants no /dev/kvm.
micro_guests=(arch::x86_64::probe:: arch::x86_64::vcpu_state::tests::a_vcpu
    tests::real_machines:: tests::machine_crashes:: tests::disk_header::)
mapfile -t here < <(files_of cli/tests; files_of guest-images/agent/tests)
mapfile -t machines < <(files_of vmm/tests)
only=()
# Commands at such a guest.
commands() { TEST_FLAGS="--ignored ${TEST_FLAGS:-}" run --test={at_the_console,ending,full_disk,show,stats}; }
if [ -c /dev/kvm ] && { : <>/dev/kvm; } 2>/dev/null; then
    run --lib --bins "${here[@]}" "${machines[@]}"
    commands
else
    for name in "${micro_guests[@]}"; do only+=(--skip "$name"); done
    run --lib --bins "${here[@]}"
    # With crash points, for the tests that kill it at each step.
    export KILN_VMM=$PWD/target/${CARGO_BUILD_TARGET:-}/debug/kiln-vmm
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/scripts/inside.sh
    only=("${micro_guests[@]}")
    run --lib
    only=()
    run "${machines[@]}"
    commands
    unset CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER KILN_VMM
fi

echo "== images, the software machine, real guests"
scripts/guests.sh "$BIN" test || status=1

note
exit $status
