#!/usr/bin/env bash
# Every test: units and micro guests first, then images, the software machine, and real guests, where they can run,
# side by side.
#
# usage: test.sh [BIN]        BIN: the folder of the built programs; without it, says what will be done and its cost
#
# All steps are run, whatever fails; the status is 1 if anything did. TEST_FLAGS is handed to each test program.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ $# = 0 ]; then
    cat <<'E2'
All tests: units, properties and micro guests; images; the software machine; real guests.

  downloads     about 60 MB of Rust crates and 480 MB of Debian packages the first time
  disk          about 10 GB in target/, 3 GB in the cache
  takes         on two cores without hardware virtualization about an hour the first time, then 45 minutes; much less with it

E2
    exit
fi
BIN=$(realpath "$1") WORK=$PWD/target/guests${SUITE:+-$SUITE} status=0
export BIN WORK
trap 'for home in "$WORK/home" "$WORK"/*/home; do KILN_HOME=$home "$BIN/kiln" machine stop >/dev/null 2>&1; done' EXIT

# Each whole run is noted, for scripts/ten-runs.sh: when, of which commit, what came of it, the suite of its guests.
note() {
    case ${TEST_FLAGS:-} in '' | --show-output) ;; *) return ;; esac
    local commit
    commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
    [ -z "$(git status --porcelain 2>/dev/null)" ] || commit+=-with-changes
    mkdir -p target/runs
    echo "$(date -u +%FT%TZ) $commit $status ${SUITE:-bookworm}" >>target/runs/test
}

echo "== units, properties, micro guests"
scripts/units.sh rest || status=1
# Where there is no /dev/kvm, they run among the real guests.
if scripts/has-kvm.sh micro; then scripts/units.sh micro || status=1; fi

echo "== images, the software machine, real guests"
scripts/guests.sh "$BIN" test || status=1

note
exit $status
