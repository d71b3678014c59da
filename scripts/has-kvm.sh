#!/usr/bin/env bash
# Status 0 if this host runs guests itself: its CPU has virtualization, and /dev/kvm opens.
#
# usage: has-kvm.sh [micro]   micro: /dev/kvm opens, whatever is behind it: guests of a few instructions run
[ -c /dev/kvm ] && { : <>/dev/kvm; } 2>/dev/null && { [ "${1:-}" = micro ] || grep -qwE 'svm|vmx' /proc/cpuinfo; }
