# Gives a machine that was booted or loaded what is its owner's: the present time ($0, in nanoseconds), the store,
# the host's files. Words on stderr and a status tell what did not work.
kiln machine-clock "$0" || exit
# A file system that could not be written takes nothing more, so that each command sees it and says how to go on.
mount -t ext4 -o noatime,discard,errors=remount-ro /dev/vda /kiln || { echo 'the data disk does not mount'; exit 1; }
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=512000,access=client host /host 2>/dev/null ||
    mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=512000 host /host ||
    { echo 'the files of the host do not mount'; exit 1; }
