#!/bin/busybox sh
# The plain way: a first boot that makes an identifier and a key with openssl alone, as most firmware does.
. /lab/common.sh

id=$(openssl rand -hex 8)
openssl ecparam -name prime256v1 -genkey -noout -out /tmp/key.pem
openssl req -new -key /tmp/key.pem -subj "/CN=$id.example" -out /tmp/request.pem

say id "$(echo "$id" | base64 -w 0)"
say csr "$(base64 -w 0 < /tmp/request.pem)"
say entropy_avail "$(base64 -w 0 < /proc/sys/kernel/random/entropy_avail)"
poweroff -f
