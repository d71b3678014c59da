#!/usr/bin/env bash
# Notes in the ledger of fuzzing what a target came to: its edges, and the processor's time that it has had in all.
#
# usage: ledger.sh LEDGER TARGET EDGES USER SYSTEM        USER, SYSTEM: seconds of a processor
set -euo pipefail
awk -F' *[|] *' -v OFS=' | ' -v target="$2" -v edges="$3" -v seconds="$4" -v more="$5" '
    function row(minutes) { printf "| %s | %d | %.1f |\n", target, edges, minutes + (seconds + more) / 60 }
    !/^[|] [a-z]/ || $2 == "target" { if (NR > 1 && !is_done && is_row) { row(0); is_done = 1 } print; next }
    { is_row = 1 }
    !is_done && $2 == target { row($4); is_done = 1; next }
    !is_done && $2 > target { row(0); is_done = 1 }
    { print }
    END { if (!is_done) row(0) }
' "$1" >"$1.new"
cat "$1.new" >"$1"
rm "$1.new"
