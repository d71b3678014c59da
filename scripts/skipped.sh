#!/usr/bin/env bash
# Names the tests of a log that were ignored in one run of their program and passed in no other; status 1 if there are any.
# What only `make torture` runs is left out.
#
# usage: skipped.sh LOG
set -euo pipefail
awk '
    /^test .* \.\.\. / { begun = $2 }
    /^test .* \.\.\. ignored/ { if (begun !~ /^tests::torture::/) ignored[begun]; begun = "" }
    # Below what its children print, a result has a line of its own.
    /^test .* \.\.\. ok/ || $0 == "ok" { passed[begun] }
    END { for (name in ignored) if (!(name in passed)) { print "not run: " name; left = 1 } exit left }
' "$1"
