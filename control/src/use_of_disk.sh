for serial in /sys/block/*/serial; do
    [ "$(cat "$serial" 2>/dev/null)" = "$1" ] || continue
    disk=${serial%/serial}
    name=${disk##*/}
    while read -r source place rest; do
        case $source in
        "/dev/$name" | "/dev/$name"[0-9]* | "/dev/${name}p"[0-9]*)
            echo "it is mounted at $place"
            exit
            ;;
        esac
    done </proc/mounts
    while read -r source rest; do
        case $source in
        "/dev/$name" | "/dev/$name"[0-9]* | "/dev/${name}p"[0-9]*)
            echo "it is swapped to"
            exit
            ;;
        esac
    done </proc/swaps
    for holder in "$disk"/holders/* "$disk"/*/holders/*; do
        [ -e "$holder" ] || continue
        echo "${holder##*/} is made of it"
        exit
    done
done
