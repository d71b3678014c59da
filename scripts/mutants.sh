#!/usr/bin/env bash
# Changes the code in one small way after the other and runs the tests each time. A change that they do not notice shows
# what none of them holds. Of the write path of disks, the reader of menus and the queue, a sample, the same for each seed.
#
# usage: mutants.sh COUNT SEED
#
# What was tried is kept in target/mutants/SEED: another call, also after an interrupt, goes on with the rest. The code is
# that of the last commit. The status is 1 if less than 85 of 100 changes were noticed.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# = 2 ] || { sed -n '5s/^# //p' "$0" >&2; exit 2; }
count=$1 state=$PWD/target/mutants/$2 tree=$PWD/target/mutants/tree
if ! command -v cargo-mutants >/dev/null; then
    printf 'missing: cargo-mutants\n   what to do: cargo install --locked cargo-mutants (about 5 minutes)\n' >&2
    exit 1
fi

# A copy that is changed in place, so that what was built of it stays good.
mkdir -p "$state" "$tree"
git archive HEAD | tar -x -C "$tree"
cd "$tree"
chosen=(-p kiln-imagefmt -p kiln-vmm)
for file in imagefmt/src/qcow2/{commit,discard,entry,grow,refcount,tables,write,writer}.rs 'imagefmt/src/chain/*.rs' \
    'vmm/src/boot/pvgrub/**/*.rs' 'vmm/src/virtio/{chain,queue,ring}.rs'; do
    chosen+=(-f "$file")
done
all=$(cargo mutants --list "${chosen[@]}" | wc -l)
# Portions of ten, from all files alike, in the seed's order.
portions=$(((all + 9) / 10))
mapfile -t order < <(seq 0 $((portions - 1)) | shuf --random-source=<(yes "$2"))

sum() { cat "$state"/*/mutants.out/"$1".txt 2>/dev/null | wc -l; }
tried() { echo $(($(sum caught) + $(sum missed) + $(sum timeout))); }
for portion in "${order[@]}"; do
    [ "$(tried)" -lt "$count" ] || break
    [ ! -e "$state/$portion/done" ] || continue
    mkdir -p "$state/$portion"
    # 0: all noticed; 2: some were not; 3: some ran too long. Everything else is a failure of its own.
    result=0
    cargo mutants "${chosen[@]}" --in-place --shard "$portion/$portions" --sharding round-robin -o "$state/$portion" \
        --baseline skip --timeout 300 --build-timeout 900 --colors never -- --lib || result=$?
    case $result in 0 | 2 | 3) touch "$state/$portion/done" ;; *) exit "$result" ;; esac
    echo "so far: $(tried) of $all changes tried, $(sum caught) noticed, $(sum missed) not, $(sum timeout) ran too long"
done
cat "$state"/*/mutants.out/missed.txt
noticed=$((100 * ($(sum caught) + $(sum timeout)) / $(tried)))
echo "figure: of $(tried) changes (seed $2) $noticed of 100 were noticed: $(sum caught) by a test, $(sum timeout) as they ran too long; $(sum unviable) more did not compile"
[ "$noticed" -ge 85 ]
