#!/bin/busybox sh
# A box with the agent: something on it asks the kernel for randomness the blocking way (an SSH server that makes its
# host key does), and then the agent starts.
. /lab/common.sh

head -c 1 /dev/random > /dev/null
python3 -S -B /lab/box.py
poweroff -f
