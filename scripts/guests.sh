#!/usr/bin/env bash
# Runs the tests (or benchmarks) that need real guests, where guests can run: on this host if it has hardware
# virtualization, else in the software machine, with the host's files at the same paths.
#
# usage: guests.sh BIN test|bench [NAME...]      BIN: the folder of the built programs; NAME: only these test files
#
# The store of the test run is in target/guests: nothing of the user's is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1") what=$2
shift 2

export KILN_TEST_BIN=$bin PATH=$bin:$PATH
cache=${XDG_CACHE_HOME:-$HOME/.cache}/kiln
work=$PWD/target/guests
mkdir -p "$work" "$cache"

echo "-- test binaries"
mapfile -t built < <(cargo test --locked --no-run --message-format=json -p kiln-tests $(printf -- ' --test %s' "$@") |
    sed -n 's/.*"name":"\([a-z_]*\)".*"executable":"\([^"]*\)".*/\1 \2/p')
[ ${#built[@]} -gt 0 ] || { echo "no test binary was built" >&2; exit 1; }

echo "-- images"
export KILN_HOME=$work/home
for image in tiny debian-12-pv; do
    kiln image build "$image" --cache-only
done
