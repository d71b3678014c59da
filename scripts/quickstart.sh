#!/usr/bin/env bash
# The main job, on real input, shown: a Debian guest is launched, changed, baked, and the bake is launched.
#
# usage: quickstart.sh [BIN]        BIN: the folder of the built programs; without it, says what will be done and its cost
#
# Everything that it makes goes to KILN_HOME and to the cache; at its end only the base image is left.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# = 0 ]; then
    cat <<'E2'
Quickstart: a real Debian 12 guest is launched from an image, changed, baked into a new image, and launched from it.

  downloads     about 60 MB of Rust crates and 150 MB of Debian packages the first time; without hardware virtualization
                100 MB more, for an emulator
  disk          about 4 GB: target/ (the build), the cache (downloads, image) and KILN_HOME (layers)
  takes         7 minutes with hardware virtualization, 3 of them to build; without it under 15 the first time, then under 4

E2
    exit
fi
export PATH=$(realpath "$1"):$PATH

bold='' plain=''
[ ! -t 1 ] || bold=$'\e[1m' plain=$'\e[0m'
began=$(date +%s) last='' times=()
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
now() { date +%s%N; }
shown() { # command...: as it would be typed
    local word line=
    for word; do [[ $word =~ ^[[:alnum:]_./:=,@+-]+$ ]] && line+=" $word" || line+=" ${word@Q}"; done
    printf '%s$%s%s\n' "$bold" "$line" "$plain"
}
step() { # name, command...: shows the command, runs it, keeps its time; its output is shown, and kept in $last
    local name=$1 start
    shift
    shown "$@"
    start=$(now)
    last=$("$@") || failed "$name"
    printf '%s\n' "$last"
    times+=("$(($(now) - start)) $name")
}

stamp=$(date +%H%M%S)
failed() { # what a step was: the end of what its guests printed, before they are ended
    local id
    [ -z "$last" ] || printf '%s\n' "$last"
    printf '\nerror: "%s" failed; the instances of this run are ended now. The end of what their guests printed:\n' "$1" >&2
    for id in $(kiln -q list --filter "tag:Name=quickstart-$stamp"); do
        printf '== %s\n' "$id" >&2
        # Nothing that a terminal would answer.
        kiln log "$id" 2>&1 | tail -n 20 | tr -cd '\11\12\40-\176' >&2 || true
    done
    exit 1
}
clean() { # whatever happens, only the base image stays: by name, since what was interrupted never told its id
    local made image
    mapfile -t made < <(kiln -q list --filter "tag:Name=quickstart-$stamp")
    [ ${#made[@]} -eq 0 ] || kiln -q terminate "${made[@]}" >/dev/null 2>&1 || true
    for image in $(kiln -q image list --filter "name=changed-$stamp,live-$stamp"); do
        kiln -q image deregister "$image" --delete-snapshots >/dev/null 2>&1 || true
    done
}
trap clean EXIT

say "What this host has"
kiln doctor || true

say "The base image"
if kiln -q image list --filter name=debian-12-pv | grep -q .; then
    echo "debian-12-pv is there already"
else
    step "image build" kiln image build debian-12-pv
fi

say "Launch it"
step "run (to the agent's first answer)" kiln -q run debian-12-pv --name "quickstart-$stamp" --wait agent
first=$last
step "first exec" kiln exec "$first" -- sh -c 'uname -sr; uptime'

say "Change it, and bake the change: with a reboot, as EC2 does by default"
step "exec" kiln exec "$first" -- sh -c 'echo "baked by Kiln" > /etc/motd; cat /etc/motd'
step "image create" kiln -q image create "$first" --name "changed-$stamp"

say "Bake again without a reboot, while a program writes"
step "exec, with the reboot's wait" kiln exec "$first" -- sh -c '(while [ ! -e /run/enough ]; do date >> /var/log/writer; done) >/dev/null 2>&1 & touch /var/log/writer; until [ "$(wc -l < /var/log/writer)" -ge 20 ]; do sleep 0.1; done; echo "a writer runs"'
step "image create --no-reboot" kiln -q image create "$first" --name "live-$stamp" --no-reboot
live=$last
step "exec" kiln exec "$first" -- sh -c 'touch /run/enough; echo "it has written $(wc -l < /var/log/writer) lines"'

say "Launch two instances of the bake at once"
step "run --count 2" kiln -q run "$live" --count 2 --name "quickstart-$stamp" --wait agent
mapfile -t pair <<<"$last"
for id in "${pair[@]}"; do
    step "exec" kiln exec "$id" -- sh -c 'echo "$(cat /etc/motd), $(wc -l < /var/log/writer) lines written"'
    [[ $last == "baked by Kiln,"* ]] || { echo "error: the change is not in $id" >&2; exit 1; }
done

say "Deregister the image: its instances live on, new launches are refused"
step "image deregister" kiln image deregister "$live" --delete-snapshots
step "exec" kiln exec "${pair[0]}" -- echo "still alive"
shown kiln run "$live"
if kiln run "$live"; then echo "error: a deregistered image was launched" >&2; exit 1; fi

say "End everything but the base image"
step "terminate" kiln -q terminate "$first" "${pair[@]}"
clean
kiln -q gc >/dev/null
step "check" kiln check
kiln image list

say "Where the time went ($(($(date +%s) - began)) s in all)"
printf '%s\n' "${times[@]}" | sort -rn | awk '{ t = $1 / 1e9; $1 = ""; if (t >= 0.1) printf "%7.1f s %s\n", t, $0 }'
cat <<E2

Next:
  make install                                        have \`kiln\` on the PATH
  kiln run debian-12-pv --name mine --wait agent      launch an instance that stays
  kiln exec mine -- bash                              work in it
  kiln image create mine --name my-image              bake it
E2
