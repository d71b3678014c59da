#!/bin/busybox sh
# First process of the software machine: loads the modules, moves the root file system from the
# initramfs to a tmpfs (the initramfs cannot be pivoted away from, which a sandbox wants to do).
export PATH=/bin
/bin/busybox --install -s /bin
mkdir -p /proc /sys
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in /modules/*; do
    insmod "$m" || echo "kiln-machine: $m does not load"
done
rm -rf /modules
# A guest whose local APIC ticks often while it writes CR8, as UEFI firmware does, can end the QEMU that emulates this
# machine (tcg_handle_interrupt: bql_locked). Kernels tick by deadlines, which this does not concern.
echo 1000000 >/sys/module/kvm/parameters/min_timer_period_us || true
mount -t tmpfs -o mode=0755,size=512M root /root
mkdir -p /root/proc /root/sys /root/dev /root/bin
cp -a /bin/. /root/bin/
cp -a /usr /root/usr
cp /main /root/main
mount --move /proc /root/proc
mount --move /sys /root/sys
mount --move /dev /root/dev
exec switch_root /root /main
