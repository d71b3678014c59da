#!/bin/busybox sh
# What the software machine does: it makes a root file system, then runs the agent, for ever. What belongs to
# somebody is mounted later (mount.sh): up to here every machine is the same, and can be saved.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
cd /
mkdir -p etc root run tmp var usr kiln host home/kiln dev/shm dev/pts
for d in sbin usr/bin usr/sbin usr/local/bin usr/local/sbin; do
    mkdir -p "${d%/*}" && [ -e "$d" ] || ln -s /bin "$d"
done
echo 'root:x:0:0:root:/root:/bin/sh
kiln:x:1000:1000:kiln:/home/kiln:/bin/sh' >etc/passwd
echo 'root:x:0:
kvm:x:104:kiln
kiln:x:1000:' >etc/group
echo 'NAME="Kiln software machine"
ID=kiln' >etc/os-release
echo '127.0.0.1 localhost kiln-machine' >etc/hosts
hostname kiln-machine
mount -t devpts -o mode=0620,ptmxmode=0666 pts dev/pts
mount -t tmpfs -o size=90% shm dev/shm
mount -t tmpfs -o mode=1777,size=90% tmp tmp
mount -t tmpfs -o mode=0755 run run
mount -t cgroup2 cgroup sys/fs/cgroup 2>/dev/null
ln -sf /proc/self/fd dev/fd
ln -sf /proc/self/fd/0 dev/stdin
ln -sf /proc/self/fd/1 dev/stdout
ln -sf /proc/self/fd/2 dev/stderr
ln -sf /proc/mounts etc/mtab
chown 1000:1000 home/kiln
[ ! -c dev/kvm ] || { chgrp kvm dev/kvm; chmod 0660 dev/kvm; }
ip link set lo up
n=0
while [ ! -b dev/vda ] && [ $n -lt 100 ]; do usleep 50000; n=$((n + 1)); done
echo 'kiln-machine: ready'
while :; do
    kiln-agent </dev/null
    echo "kiln-machine: the agent ended with status $?"
    sleep 1
done
