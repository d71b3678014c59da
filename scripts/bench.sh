#!/usr/bin/env bash
# Measures Kiln and its peers side by side: tables here, the same as JSON in target/bench.
#
# usage: bench.sh BIN [WHAT...]    BIN: the folder of the built programs; WHAT: start, disk, freeze, guest, boot, firmware,
#                          launch, save, run (all of them)
#
# The status is 1 if a ratio is beyond its bound.
set -uo pipefail
cd "$(dirname "$0")/.."
BIN=$(realpath "$1") OUT=$PWD/target/bench status=0
export BIN
shift
[ $# -gt 0 ] || set -- start disk freeze guest boot firmware launch save run
cargo build --quiet --locked --release -p kiln-tests --bin bench || exit 1
mkdir -p "$OUT"
for what in "$@"; do
    case $what in
    freeze)
        "$BIN/bench" freeze "$OUT/freeze.json" || status=1
        scripts/guests.sh "$BIN" bench writer "$OUT/writer.json" || status=1
        ;;
    start | disk) KILN_TEST_BIN=$BIN "$BIN/bench" "$what" "$OUT/$what.json" || status=1 ;;
    run) KILN_TEST_BIN=$BIN scripts/lane.sh "$PWD/target/guests${SUITE:+-$SUITE}" run "$BIN/bench" run "$OUT/run.json" || status=1 ;;
    *) scripts/guests.sh "$BIN" bench "$what" "$OUT/$what.json" || status=1 ;;
    esac
done
exit $status
