#!/usr/bin/env bash
# The quickstart once more in the store of the first one, within 240 s; then its software machine is ended, with
# whatever still runs in it, so that nothing is measured beside it.
#
# usage: second-quickstart.sh BIN        BIN: the folder of the built programs
set -euo pipefail
cd "$(dirname "$0")/.."
export KILN_HOME=$PWD/target/quickstart-home
trap '"$1/kiln" machine stop >&2 || true' EXIT
began=$(date +%s)
timeout 240 scripts/quickstart.sh "$1"
echo "figure: $(($(date +%s) - began)) s"
