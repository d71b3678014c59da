#!/usr/bin/env bash
# Whether each target of tests/fuzz has been fuzzed, and all together for so many minutes of a processor, by the ledger.
#
# usage: fuzzed.sh MINUTES
set -euo pipefail
cd "$(dirname "$0")/../tests/fuzz"
awk -F' *[|] *' -v wanted="$1" '
    FILENAME == "LEDGER.md" { if (/^[|] [a-z]/ && $3 + 0 > 0 && $4 + 0 > 0) { fuzzed[$2]; minutes += $4 } next }
    FNR == 1 {
        target = FILENAME
        gsub(/.*\/|[.]rs$/, "", target)
        targets++
        if (!(target in fuzzed)) { print "not fuzzed: " target; left = 1 }
    }
    END {
        printf "figure: %d targets, %.0f minutes of a processor\n", targets, minutes
        exit left || !targets || minutes < wanted
    }
' LEDGER.md fuzz_targets/*.rs
