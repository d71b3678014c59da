#!/usr/bin/env bash
# Compares the tests that try a hazard with those that docs/hazards.md names: each has to be in both.
set -euo pipefail
cd "$(dirname "$0")/.."
tried=$(grep -rhoE 'fn hazard_[a-z0-9_]+' --include='*.rs' --exclude-dir=target . | sed 's/^fn //' | sort -u)
named=$(grep -hoE 'hazard_[a-z0-9_]+' docs/hazards.md | sort -u)
if ! difference=$(diff <(echo "$tried") <(echo "$named")); then
    echo "error: tests (<) and docs/hazards.md (>) differ:" >&2
    grep '^[<>]' <<<"$difference" >&2
    exit 1
fi
echo "figure: $(wc -l <<<"$tried") hazards have tests"
