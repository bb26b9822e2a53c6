"""What tells this machine from its neighbours: identifiers for the extractor, and the hardware fingerprint.

Reads /sys and /proc, and asks the kernel for permanent MACs. Takes what is soldered on: no virtual interface, nothing
that is plugged in (USB, memory cards), no MAC that somebody made up, so that the fingerprint stays the same while the
box does. Does not know what HQ makes of it.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import hashlib
import os
import socket
import struct
from pathlib import Path
from typing import Any

_SIOCGIFADDR = 0x8915
_SIOCETHTOOL = 0x8946
_ETHTOOL_GPERMADDR = 0x20
_LONGEST_MAC = 32  # MAX_ADDR_LEN
# linux/netdevice.h, addr_assign_type: the device's own, or another one that was set. The rest are random or borrowed.
_PERMANENT, _SET = b"0", b"3"
_FILES = (
    "proc/device-tree/serial-number",
    "proc/device-tree/model",
    "sys/class/dmi/id/product_uuid",
    "sys/class/dmi/id/product_serial",
)


def identifiers(serial: str, root: Path = Path("/")) -> bytes:
    """MACs, serial numbers, eMMC ids and the board's model, in a fixed order, as one byte string."""
    lines = [b"serial=" + serial.encode()]
    lines += [name.encode() + b"=" + _read(root / name) for name in _FILES]
    lines += [b"mac=" + mac for mac in _macs(root)]
    lines += [b"cid=" + cid for cid in _cids(root)]
    return b"\n".join(lines)


def fingerprint(ids: bytes) -> str:
    """The hardware fingerprint that HQ compares between check-ins (SHA-256, hex)."""
    return hashlib.sha256(b"otscert/v1/hardware\x00" + ids).hexdigest()


def kernel_version() -> str:
    return os.uname().release


def addresses(configured: list[str]) -> list[str]:
    """The addresses to publish: the list as configured, or for "auto" the private ones of the machine."""
    if configured != ["auto"]:
        return list(configured)
    import ipaddress  # noqa: PLC0415  # explicit lists do not pay for it

    found: list[str] = []
    for text in [*_ipv4_addresses(), *_ipv6_addresses()]:
        address = ipaddress.ip_address(text)
        if _is_private(address, ipaddress) and text not in found:
            found.append(text)
    return found


def is_online() -> bool:
    """Whether any interface has an address with which another machine could be reached (nothing is sent)."""
    found = [text for text in _ipv4_addresses() if not text.startswith(("127.", "169.254."))]
    return bool(found) or any(not text.startswith(("::1", "fe80:")) for text in _ipv6_addresses())


def _is_private(address: Any, ipaddress: Any) -> bool:
    # The default policy of protocol.md, "Addresses and the zone"; Python's is_private also says yes to 0.0.0.0.
    if address.version == 4:
        networks = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
        return any(address in ipaddress.ip_network(network) for network in networks)
    # EUI-64 (ff:fe in the middle) names the MAC and is never published.
    return address in ipaddress.ip_network("fc00::/7") and address.packed[11:13] != b"\xff\xfe"


def _ipv4_addresses() -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            with contextlib.suppress(OSError):  # an interface without an IPv4 address
                found.append(socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)[20:24]))
    return found


def _ipv6_addresses() -> list[str]:
    table = _read(Path("/proc/net/if_inet6")).decode("ascii", "replace")
    return [socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])) for line in table.splitlines()]


def _macs(root: Path) -> list[bytes]:
    found = []
    for interface in sorted(root.glob("sys/class/net/*")):
        device = interface / "device"
        if not device.exists() or "/usb" in str(device.resolve()):
            continue
        assigned = _read(interface / "addr_assign_type") or _PERMANENT
        if assigned == _PERMANENT:
            found.append(_read(interface / "address"))
        elif assigned == _SET:
            found += _permanent_mac(interface.name)
    return sorted(found)


def _permanent_mac(name: str) -> list[bytes]:
    """The MAC that an interface had before somebody gave it another one; none where it never had one of its own."""
    answer = array.array("B", struct.pack("=II", _ETHTOOL_GPERMADDR, _LONGEST_MAC) + bytes(_LONGEST_MAC))
    request = struct.pack("@16sP16x", name.encode()[:15], answer.buffer_info()[0])  # struct ifreq points to it
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe.fileno(), _SIOCETHTOOL, request)
        length = min(struct.unpack_from("=I", answer, 4)[0], _LONGEST_MAC)
        mac = answer.tobytes()[8 : 8 + length]
        return [mac.hex(":").encode()] if any(mac) else []
    return []


def _cids(root: Path) -> list[bytes]:
    """The ids of what is soldered on; a memory card comes and goes."""
    found = sorted(root.glob("sys/block/mmcblk*/device/cid"))
    return [_read(cid) for cid in found if _read(cid.with_name("type")) != b"SD"]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().strip(b"\x00\n ")
    except OSError:  # absent on this board, or for root only
        return b""
