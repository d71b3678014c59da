#!/usr/bin/env bash
# Changes the code in one small way after the other, and each time runs the tests that hold it. A change that they do not
# notice shows what none of them holds. Of the write path of disks, the reader of menus and the queue: a sample, the same
# for each seed.
#
# usage: mutants.sh COUNT SEED
#
# COUNT changes that compile are tried, of the code as it was last committed. What came of each is kept in
# target/mutants/SEED: another call, also after an interrupt, tries the rest, and once more what was not noticed. The status
# is 1 if less than 85 of 100 changes were noticed.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# = 2 ] || { sed -n '6s/^# //p' "$0" >&2; exit 2; }
count=$1 seed=$2 state=$PWD/target/mutants/$2 tree=$PWD/target/mutants/tree
if ! command -v cargo-mutants >/dev/null; then
    printf 'missing: cargo-mutants\n   what to do: cargo install --locked cargo-mutants (about 5 minutes)\n' >&2
    exit 1
fi

crates=(kiln-imagefmt kiln-vmm)
# What is changed says .cargo/mutants.toml; this, the tests that hold it, those apart that take long: whole machines, and what
# goes through other programs, or through every cut of a life.
declare -A tests=(
    [kiln-imagefmt]='chain:: check:: qcow2:: store:: tests:: --skip=probe:: --skip=transfer:: --skip=differential --skip=torture
        --skip=ten_thousand'
    [kiln-vmm]='boot::pvgrub:: virtio::queue:: virtio::block:: virtio::rng:: --skip=cost::
        --skip=tests::tools::'
)
# Nobody debugs these builds. And the first failure is enough: an option that a stable harness takes only like this.
export CARGO_PROFILE_DEV_DEBUG=false LC_ALL=C
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='env RUSTC_BOOTSTRAP=1'

# A copy that is changed in place, so that what was built of it stays good: only files that differ are written.
mkdir -p "$state" "$tree"
GIT_INDEX_FILE=$PWD/target/mutants/index git --work-tree="$tree" read-tree --reset -u HEAD
cd "$tree"
# It is built in a target/ of its own, for this host.
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS

# What came of the sample's changes so far. A change that was noticed once is, whatever came of it before.
weigh() {
    came_to() { cat /dev/null "$state"/*/mutants.out/"$1".txt 2>/dev/null | sort -u | comm -12 - <(echo "$sample"); }
    caught=$(came_to caught)
    late=$(came_to timeout | comm -23 - <(echo "$caught"))
    unviable=$(came_to unviable)
    rest=$(comm -23 <(echo "$sample") <(sort <<<"$caught"$'\n'"$late"$'\n'"$unviable"))
}
lines() { grep -c . <<<"$1" || true; }

shuffled=$(cargo mutants --list "${crates[@]/#/--package=}" | shuf --random-source=<(yes "$seed"))
tried= unviable=
while
    # As many more as do not compile.
    sample=$(head -n "$((count + $(lines "$unviable")))" <<<"$shuffled" | sort)
    weigh
    left=$(comm -23 <(echo "$rest") <(echo "$tried"))
    [ -n "$left" ]
do
    for crate in "${crates[@]}"; do
        mapfile -t chosen < <(grep "^${crate#kiln-}/" <<<"$left" | sed 's/[][\.*^$+?(){}|]/\\&/g; s/.*/--re=^&$/')
        [ ${#chosen[@]} -gt 0 ] || continue
        echo "trying ${#chosen[@]} changes of $crate"
        read -rd "" -a only <<<"${tests[$crate]}" || true
        # 0: all noticed; 2: some were not; 3: some ran too long. Everything else is a failure of its own.
        result=0
        cargo mutants --package "$crate" "${chosen[@]}" --in-place --output "$(mktemp -d "$state/XXXXXX")" \
            --timeout 300 --build-timeout 900 --colors never --cargo-arg=--lib \
            -- -- -Zunstable-options --fail-fast "${only[@]}" || result=$?
        case $result in 0 | 2 | 3) ;; *) exit "$result" ;; esac
    done
    tried=$sample
done
[ -z "$rest" ] || printf 'not noticed:\n%s\n' "$rest"
noticed=$(($(lines "$caught") + $(lines "$late")))
all=$((noticed + $(lines "$rest")))
echo "figure: of $all changes (seed $seed) $noticed were noticed: $(lines "$caught") by a test, $(lines "$late") as they ran" \
    "too long; $(lines "$unviable") more did not compile"
[ $((100 * noticed)) -ge $((85 * all)) ]
