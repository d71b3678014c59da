#!/usr/bin/env bash
# Runs the tests (or the benchmark) that need real guests where guests can run: on this host if it has hardware
# virtualization, else in the software machine, with the host's files at the same paths.
#
# usage: guests.sh BIN test [FILE...]     FILE: only these of tests/tests
#        guests.sh BIN bench OUT.json
#
# BIN is the folder of the built programs. The store of the run is in target/guests: nothing of the user's is touched.
# TEST_FLAGS is handed to each test binary.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1") what=$2
shift 2
export PATH=$bin:$PATH:/usr/sbin:/sbin
work=$PWD/target/guests
mkdir -p "$work/store"

# The programs to run, built like all else: "name path".
case $what in
test) kind=test pick=() && for file in "$@"; do pick+=(--test "$file"); done && [ $# -gt 0 ] || pick=(--tests) ;;
bench) kind=bin pick=(--bin bench) ;;
esac
build=(cargo build) && [ "$what" = bench ] || build=(cargo test --no-run)
mapfile -t programs < <("${build[@]}" --quiet --locked --message-format=json -p kiln-tests "${pick[@]}" |
    sed -nE 's/.*"kind":\["'"$kind"'"\].*"name":"([a-z_]+)".*"executable":"([^"]+)".*/\1 \2/p')
# A kiln with crash points, for the tests that kill it at each step.
cargo build --quiet --locked -p kiln --target-dir "$PWD/target"
mortal=$PWD/target/${CARGO_BUILD_TARGET:-}/debug/kiln
[ ${#programs[@]} -gt 0 ] || { echo "error: no test was built" >&2; exit 1; }

if grep -qwE 'svm|vmx' /proc/cpuinfo && [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
    export KILN_HOME=$work/store
    inside() { "$@"; }
else
    # In the machine the store is a disk of its own. It shows at the same path as on the host, like all other files.
    export KILN_HOME=$work/home
    inside() {
        local script='mount --bind /dev /host/dev && mount --bind /dev/pts /host/dev/pts && mount -t proc proc /host/proc &&
            mount --bind /sys /host/sys && mount --bind /kiln "/host$1" && cd "/host$2" && shift 2 && exec chroot /host "$@"'
        kiln machine shell -- unshare -m sh -c "$script" sh "$work/store" "$PWD" \
            env -i "HOME=$HOME" "PATH=$PATH" TERM=dumb "${environment[@]}" "$@"
    }
    trap 'kiln machine stop >/dev/null 2>&1 || true' EXIT
fi
environment=(
    "KILN_TEST_SEED=$work/store" "KILN_TEST_BIN=$bin" "KILN_TEST_MORTAL=$mortal" "TMPDIR=$work/store/tmp" KILN_ACCEL=kvm RUST_BACKTRACE=1
    "CARGO_MANIFEST_DIR=$PWD/tests"
)

for image in tiny debian-12-pv; do
    kiln -q image list --filter "name=$image" | grep -q . || kiln image build "$image"
done
inside mkdir -p "$work/store/tmp"

status=0
for program in "${programs[@]}"; do
    read -r name path <<<"$program"
    printf '\n-- %s\n' "$name"
    case $what in
    test) inside env "${environment[@]}" "$path" --test-threads 2 ${TEST_FLAGS:-} || status=1 ;;
    bench) inside env "${environment[@]}" "$path" "$@" || status=1 ;;
    esac
done
exit $status
