#!/usr/bin/env bash
# Kills commands and cuts the power at every step on disk, and looks at what is left: docs/storage.md says what may be.
#
# usage: torture.sh [FILTER…]        FILTER: only tests whose names have one of these in them
#
# The states are counted in lines that begin with `figure:`. The same on every run: nothing of it is random.
set -euo pipefail
cd "$(dirname "$0")/.."

# Thousands of homes are written, synced and removed again: in memory, where that can be had.
if [ -z "${TMPDIR:-}" ] && [ -d /dev/shm ] && [ -w /dev/shm ]; then
    export TMPDIR=/dev/shm
fi
[ $# -gt 0 ] || set -- tests::torture::
exec cargo test --locked --workspace --lib -- --include-ignored --show-output "$@"
