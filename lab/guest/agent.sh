#!/bin/busybox sh
# A box with the agent. The start of Python is already enough to make this kernel look for randomness in its own ticks:
# it wants some for its hash tables and reads /dev/urandom.
. /lab/common.sh

python3 -S -B /lab/box.py
poweroff -f
