#!/usr/bin/env bash
# Every test: units and micro guests first, then real guests, where they can run.
#
# usage: test.sh BIN          BIN: the folder of the built programs
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/packages.sh guest-images tests
echo "== units, properties, micro guests"
cargo test --locked --workspace --exclude kiln-tests
cargo test --locked -p kiln-tests --bin verify
echo "== the software machine"
KILN_TEST_BIN=$(realpath "$1") cargo test --locked -p kiln --test software_machine -- --ignored --test-threads 1
echo "== real guests"
scripts/guests.sh "$1" test
