#!/usr/bin/env bash
# Runs a command where guests can run, with the files of this host at the same paths: here, if this host has hardware
# virtualization, else in the software machine of the test run. Cargo takes it as the runner of test programs.
#
# usage: inside.sh COMMAND [ARG...]
#
# WORK is the folder of the test run and BIN that of the built programs (the other scripts set both). In the machine
# the store is a disk of its own; it shows as WORK/store, as it does here.
set -euo pipefail
scripts=$(dirname "$(realpath "$0")")
environment=(
    "HOME=$HOME" "PATH=$BIN:$PATH" "TERM=${TERM:-dumb}" "CARGO_MANIFEST_DIR=${CARGO_MANIFEST_DIR:-$PWD}"
    "KILN_TEST_SUITE=${SUITE:-bookworm}" "KILN_TEST_SEED=$WORK/store" "KILN_TEST_BIN=$BIN" "KILN_TEST_MORTAL=${MORTAL:-}" "KILN_TEST_DISK=${DISK:-}"
    "KILN_VMM=${KILN_VMM:-$BIN/kiln-vmm}" "TMPDIR=$WORK/store/tmp" KILN_ACCEL=kvm KILN_AGENT_TIMEOUT=300
    ${KILN_TEST_ROUNDS:+"KILN_TEST_ROUNDS=$KILN_TEST_ROUNDS"} ${XDG_CACHE_HOME:+"XDG_CACHE_HOME=$XDG_CACHE_HOME"}
)
mkdir -p "$WORK/store/tmp"
if "$scripts/has-kvm.sh"; then
    exec env -i "${environment[@]}" "$@"
fi
in_machine='
    for folder in dev dev/pts sys; do mount --bind /$folder /host/$folder; done
    mount -t proc proc /host/proc
    mkdir -p /kiln/tmp
    mount --bind /kiln "/host$1"
    shift
    exec chroot /host "$@"'
in_folder='cd "$1" && shift && exec "$@"'
exec env "KILN_HOME=$WORK/home" "$BIN/kiln" machine shell -- unshare -m sh -ec "$in_machine" sh "$WORK/store" \
    sh -c "$in_folder" sh "$PWD" env -i "${environment[@]}" "$@"
