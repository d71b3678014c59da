#!/usr/bin/env bash
# Whether the last ten whole runs of `make test` in this clone passed, all of them. test.sh notes each run.
#
# usage: ten-runs.sh
set -euo pipefail
cd "$(dirname "$0")/.."
runs=target/runs/test
[ -e "$runs" ] || { echo "error: no run of \`make test\` is noted in $runs" >&2; exit 1; }
tail -n 10 "$runs" | awk '
    { print; runs++ }
    $3 == 0 { passed++ }
    END { printf "figure: %d of the last %d runs passed\n", passed, runs; exit passed < 10 }
'
