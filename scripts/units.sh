#!/usr/bin/env bash
# Units, properties and micro guests, those of a few instructions.
#
# usage: units.sh rest        all but the micro guests: these tests want no /dev/kvm
#        units.sh micro       the micro guests: on this host, or where scripts/inside.sh runs them
#
# All are run, whatever fails; the status is 1 if anything did. TEST_FLAGS is handed to each test program.
set -uo pipefail
cd "$(dirname "$0")/.."
status=0

# Programs of tests are always those of the whole workspace: built for one crate alone, all that it depends on would
# have other features, and be built anew.
run() { # option... [-- option of the program...]
    local options=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    cargo test --locked --workspace --no-fail-fast "${options[@]}" -- ${TEST_FLAGS:-} "${@:2}" || status=1
}

files_of() { # folder...: the files of tests in them, as options
    local folder file
    for folder; do
        for file in "$folder"/*.rs "$folder"/*/main.rs; do
            [ ! -e "$file" ] || basename "${file%/main.rs}" .rs | sed 's/^/--test=/'
        done
    done
}

# The micro guests among the units, by their names; beside them, there are those of vmm/tests, and commands at one.
names=(arch::x86_64::probe:: arch::x86_64::vcpu_state::tests::a_vcpu
    tests::real_machines:: tests::machine_crashes:: tests::disk_header::)
commands=(--test={at_the_console,ending,full_disk,show,stats})

# These fork the program of the tests. What other tests have open or locked at that moment a child would keep for good,
# so they have that program to themselves.
forking=(parent::tests:: sandbox::tests::)

# Some run programs of other crates, which cargo builds for those crates' own tests alone.
cargo test --quiet --locked --workspace --no-run || exit 1

case $1 in
rest)
    run --lib --bins $(files_of cli/tests guest-images/agent/tests) -- "${names[@]/#/--skip=}" "${forking[@]/#/--skip=}"
    run --lib -- --test-threads 1 "${forking[@]}"
    ;;
micro)
    # With crash points, for the tests that kill it at each step.
    export KILN_VMM=$PWD/target/${CARGO_BUILD_TARGET:-}/debug/kiln-vmm
    run --lib -- "${names[@]}"
    run $(files_of vmm/tests)
    run "${commands[@]}" -- --ignored
    ;;
*) sed -n '4,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
exit $status
