#!/usr/bin/env bash
# One place where real guests run: a store with the test images and, where need be, a software machine.
#
# usage: lane.sh WORK seed [WHAT]            makes the store and its images, with those that the benchmark WHAT wants
#        lane.sh WORK run COMMAND [ARG...]   and runs a command on this host, with that store
#        lane.sh WORK tests WAITING          and takes files of tests from the folder WAITING until it is empty
#
# The images are of Debian's SUITE, bookworm if it is not set. guests.sh calls it, with BIN and the rest of the
# environment that scripts/inside.sh wants.
set -euo pipefail
cd "$(dirname "$0")/.."
export WORK=$1
mkdir -p "$WORK"
# The images are where the tests look for them, whatever the caller's environment says.
unset KILN_REGION AWS_REGION AWS_DEFAULT_REGION KILN_ACCOUNT
# Two tests at a time, but one where guests share an emulated processor: two that boot at once in it take longer than
# one after the other.
if scripts/has-kvm.sh; then home=$WORK/store KILN_ACCEL=kvm threads=2; else home=$WORK/home KILN_ACCEL=software threads=1; fi
export KILN_ACCEL
# The longest that one file of tests may take, in seconds: several times what the slowest takes on two cores, and its
# rounds, where they are more.
limit=$((900 + 90 * ${KILN_TEST_ROUNDS:-0}))
running=
trap 'if [ -n "$running" ]; then kill -TERM "$running" 2>/dev/null; end_guests; fi; exit 130' INT TERM

# Has an image made, and made anew where what it is built from has changed since: its tag names the disk in the cache.
need() ( # image, recipe and options
    export KILN_HOME=$home
    name=$1
    shift
    disk=$("$BIN/kiln" image build "$@" --cache-only)
    disk=${disk##*/}
    there=$("$BIN/kiln" -q image list --filter "name=$name" --filter "tag:disk=$disk")
    [ -z "$there" ] || exit 0
    there=$("$BIN/kiln" -q image list --filter "name=$name")
    [ -z "$there" ] || "$BIN/kiln" image deregister --delete-snapshots "$there"
    "$BIN/kiln" image build "$@" --name "$name" --tag "disk=$disk"
)

# The same of bookworm as it was published: a mirror may have lists of its updates that are not those it signed.
need_of_release() ( # image, recipe and options
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/kiln
    mkdir -p "$WORK/release"
    # Of the sources that Kiln has found, the first is the archive, the other its security updates.
    sed -e '/^$/,$d' -e 's/^Suites:.*/Suites: bookworm/' "$cache/apt/$suite/sources/kiln.sources" >"$WORK/release/debian.sources"
    printf 'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "%s";\n' "$WORK/release" >"$WORK/release.conf"
    export APT_CONFIG=$WORK/release.conf
    need "$@"
)

# Ends what tests have left running: the software machine with all that is in it, or here their guests.
end_guests() {
    if ! scripts/has-kvm.sh; then
        KILN_HOME=$home "$BIN/kiln" machine stop || true
        return
    fi
    for process in /proc/[0-9]*; do
        if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q "kiln-vmm .*$WORK/store/tmp/"; then
            kill -KILL "${process#/proc/}" 2>/dev/null || true
        fi
    done
}

# Runs one file of tests within the limit. Status 125: the software machine itself failed meanwhile.
attempt() { # file
    local began=$SECONDS result=0 limit=$limit
    local run=(cargo test --locked --workspace --test "$1" -- --test-threads "$threads")
    # What works on this host, with machines and stores of its own.
    [ -e "tests/tests/$1.rs" ] || run=(env -u CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER "KILN_TEST_BIN=$BIN"
        cargo test --locked --workspace --test "$1" -- --ignored --test-threads 1)
    # Firmware takes minutes where virtualization is emulated, and so do Debians one after another.
    case $1 in
    cloud_init | firmware | hotplug | i386 | prompts) limit=$((2 * limit)) ;;
    # Debian's own tools make a disk, and an initramfs, in a guest: minutes each.
    foreign_disk) limit=$((4 * limit)) ;;
    esac
    # Not one file but many, and in the software machine where this host's KVM is not to be had.
    if [ "$1" = micro ]; then
        run=(scripts/units.sh micro)
        limit=$((5 * limit))
    fi
    timeout --kill-after 20 "$limit" "${run[@]}" ${TEST_FLAGS:-} &
    running=$!
    wait "$running" || result=$?
    running=
    if [ $result != 0 ] && [ $((SECONDS - began)) -ge $limit ]; then
        echo "error: test failed: $1 was still running after $limit s and was ended" >&2
        end_guests
        return 1
    fi
    return $result
}

# A failure is a failure, unless the emulated computer around the guests died, froze or fell silent: then the command
# in it breaks off with status 125, which no test has; or it crashed the kernel of a guest, as emulated virtualization
# does once in some thousand boots. Then the file is run once more, in a fresh machine, and that is said.
run_file() { # file
    local result=0 why=
    attempt "$1" || result=$?
    if [ $result != 0 ] && ! scripts/has-kvm.sh; then
        if [ $result = 125 ]; then
            why='the software machine failed'
        elif grep -q 'Kernel panic - not syncing: Fatal exception' "$WORK/log"; then
            why="a guest's kernel crashed"
        fi
    fi
    if [ -n "$why" ]; then
        echo "warning: $why while $1 ran: it is run once more, in a fresh machine" >&2
        end_guests
        result=0
        attempt "$1" || result=$?
        [ $result != 125 ] || echo "error: test failed: the software machine failed again while $1 ran" >&2
    fi
    return $result
}

# The next file that nobody has taken: a rename is won by one.
take() { # waiting
    local next
    for next in "$1"/*; do
        if mv "$next" "$WORK/taken" 2>/dev/null; then
            file=${next##*.}
            return
        fi
    done
    return 1
}

suite=${SUITE:-bookworm}
need tiny tiny --suite "$suite"
need debian debian-12-pv --suite "$suite"
case $2 in
seed)
    [ "${3:-}" != firmware ] || need debian-disk debian-12 --suite "$suite"
    exit
    ;;
run) KILN_HOME=$home exec "${@:3}" ;;
esac
status=0
while take "$3"; do
    echo "-- $file begins"
    # Each for the one file that launches it: the next Debian, the same as a whole disk and of 32 bits, and what the tests
    # alone want.
    case $file in
    images) need debian-13-pv debian-12-pv --suite trixie ;;
    # A whole disk with what builds other ones.
    foreign_disk) need builder tests/recipes/debian-disk --suite "$suite" ;;
    firmware) need debian-disk debian-12 --suite "$suite" ;;
    i386) need_of_release debian-i386 debian-12-i386 ;;
    prompts) need payloads tests/recipes/payloads --suite "$suite" ;;
    cloud_init) need debian-cloud-init tests/recipes/debian-cloud-init --suite "$suite" ;;
    verify) need debian-fio tests/recipes/debian-fio --suite "$suite" ;;
    esac
    # In one piece, since another lane prints, too.
    run_file "$file" >"$WORK/log" 2>&1 || status=1
    flock "$3" cat "$WORK/log"
done
exit $status
