#!/usr/bin/env bash
# The table of promises: runs every test and every command that SPECIFICATION.md names, then says which promise is met.
#
# usage: verify.sh BIN          BIN: the folder of the built programs
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target/verify
# As often as is promised, `make test` saves and restores a few times; and all there is.
export KILN_TEST_ROUNDS=20 GUESTS=all
TEST_FLAGS=--show-output scripts/test.sh "$1" >target/verify/test.log 2>&1 || echo "some tests failed: target/verify/test.log" >&2
"target/${CARGO_BUILD_TARGET:-}/debug/verify" SPECIFICATION.md target/verify/test.log |
    tee target/verify/table.md
