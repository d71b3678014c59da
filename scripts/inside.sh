#!/usr/bin/env bash
# Runs a command where guests can run, with the files of this host at the same paths: here, if this host has hardware
# virtualization, else in the software machine of the test run. Cargo takes it as the runner of test programs.
#
# usage: inside.sh COMMAND [ARG...]
#
# WORK is the folder of the test run and BIN that of the built programs (scripts/test.sh sets both). In the machine the
# store is a disk of its own; it shows as WORK/store, like here. The command gets the environment that tests want.
set -euo pipefail
environment=(
    "HOME=$HOME" "PATH=$BIN:$PATH" "TERM=${TERM:-dumb}" "CARGO_MANIFEST_DIR=${CARGO_MANIFEST_DIR:-$PWD}"
    "KILN_TEST_SEED=$WORK/store" "KILN_TEST_BIN=$BIN" "KILN_TEST_MORTAL=${MORTAL:-}" "KILN_VMM=$BIN/kiln-vmm"
    "TMPDIR=$WORK/store/tmp" KILN_ACCEL=kvm RUST_BACKTRACE=1
)
if scripts/has-kvm.sh; then
    mkdir -p "$WORK/store/tmp"
    exec env -i "${environment[@]}" "$@"
fi
script='mount --bind /dev /host/dev && mount --bind /dev/pts /host/dev/pts && mount -t proc proc /host/proc &&
    mount --bind /sys /host/sys && mkdir -p /kiln/tmp && mount --bind /kiln "/host$1" && cd "/host$2" && cd - >/dev/null &&
    here=$2 && shift 2 && exec chroot /host sh -c '"'"'cd "$1" && shift && exec "$@"'"'"' sh "$here" "$@"'
exec env "KILN_HOME=$WORK/home" "$BIN/kiln" machine shell -- \
    unshare -m sh -c "$script" sh "$WORK/store" "$PWD" env -i "${environment[@]}" "$@"
