#!/usr/bin/env bash
# Removes what the build and the images left behind, and says so first. Images and instances in KILN_HOME stay.
#
# usage: purge.sh CACHE
set -euo pipefail
# However it is written: relative to the caller's folder, or through links. And where kiln has it if nobody says.
default=${XDG_DATA_HOME:-${HOME:-}/.local/share}/kiln
[ "$(id -u)" != 0 ] || default=/var/lib/kiln
home=$(realpath -m -- "${KILN_HOME:-$default}")
cd "$(dirname "$0")/.."
cache=$1
for folder in target "$cache"; do
    [ ! -d "$folder" ] || du -sh "$folder"
done
if [ "${FORCE:-}" != 1 ]; then
    read -r -p "Remove these? Images and instances (KILN_HOME) are kept. [y/N] " answer
    [[ $answer == [yY]* ]] || exit 1
fi
for folder in target "$cache"; do
    case $home/ in "$(realpath -m "$folder")"/*) echo "the store, $home, lies in $folder: left alone" >&2; continue ;; esac
    rm -rf --one-file-system "$folder"
done
