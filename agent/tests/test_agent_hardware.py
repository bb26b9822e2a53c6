from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from otscert_agent import hardware


def board(root: Path, *, usb_mac: str = "02:00:00:00:00:99") -> Path:
    """A /sys and /proc as a small board has them: one soldered port, one USB adapter, one bridge."""
    for name, where, mac in (
        ("eth0", "platform/soc/eth", "02:00:00:00:00:01"),
        ("eth1", "platform/soc/usb1/1-1", usb_mac),
    ):
        device = root / "sys/devices" / where
        device.mkdir(parents=True)
        interface = root / "sys/class/net" / name
        interface.mkdir(parents=True)
        (interface / "address").write_text(mac + "\n")
        (interface / "device").symlink_to(device)
    bridge = root / "sys/class/net/br0"
    bridge.mkdir()
    (bridge / "address").write_text("02:00:00:00:00:77\n")
    tree = root / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "serial-number").write_bytes(b"0000abcd\x00")
    cid = root / "sys/block/mmcblk0/device"
    cid.mkdir(parents=True)
    (cid / "cid").write_text("150100414a\n")
    return root


def test_what_is_soldered_on_is_in_and_what_comes_and_goes_is_not(tmp_path: Path) -> None:
    ids = hardware.identifiers("S1", board(tmp_path))
    assert b"02:00:00:00:00:01" in ids
    assert b"0000abcd" in ids
    assert b"150100414a" in ids
    assert b"S1" in ids
    assert b"00:99" not in ids
    assert b"00:77" not in ids


def test_the_fingerprint_stays_while_the_box_does(tmp_path: Path) -> None:
    first = hardware.fingerprint(hardware.identifiers("S1", board(tmp_path / "a")))
    other_adapter = hardware.identifiers("S1", board(tmp_path / "b", usb_mac="02:00:00:00:00:55"))
    assert hardware.fingerprint(other_adapter) == first
    assert hardware.fingerprint(hardware.identifiers("S2", board(tmp_path / "c"))) != first
    assert b"abcd" not in first.encode()
    assert len(first) == 64


def test_a_memory_card_makes_no_other_box(tmp_path: Path) -> None:
    root = board(tmp_path)
    first = hardware.fingerprint(hardware.identifiers("S1", root))
    card = root / "sys/block/mmcblk1/device"
    card.mkdir(parents=True)
    (card / "cid").write_text("0353445355313647\n")
    (card / "type").write_text("SD\n")
    assert hardware.fingerprint(hardware.identifiers("S1", root)) == first


@pytest.mark.parametrize("assigned", ["1", "2", "3"])
def test_a_mac_that_was_made_up_makes_no_other_box(tmp_path: Path, assigned: str) -> None:
    """1: random at each start. 2: another interface's. 3: set by a program; there is no such interface here to ask."""
    root = board(tmp_path)
    interface = root / "sys/class/net/eth0"
    interface.rename(interface.with_name("no-such"))
    interface = interface.with_name("no-such")
    (interface / "addr_assign_type").write_text(f"{assigned}\n")
    first = hardware.fingerprint(hardware.identifiers("S1", root))
    (interface / "address").write_text("9e:00:00:00:00:42\n")
    assert hardware.fingerprint(hardware.identifiers("S1", root)) == first


def test_the_kernel_tells_a_permanent_mac_and_none_of_what_has_none() -> None:
    assert hardware._permanent_mac("lo") == []
    assert hardware._permanent_mac("no-such") == []
    for interface in Path("/sys/class/net").iterdir():
        if (interface / "device").exists() and (interface / "addr_assign_type").read_text() == "0\n":
            assert hardware._permanent_mac(interface.name) == [(interface / "address").read_bytes().strip()]


def test_a_machine_that_says_nothing_has_a_fingerprint_all_the_same(tmp_path: Path) -> None:
    assert len(hardware.fingerprint(hardware.identifiers("", tmp_path))) == 64


def test_configured_addresses_are_taken_as_they_are() -> None:
    assert hardware.addresses(["127.0.0.1", "fd00::1"]) == ["127.0.0.1", "fd00::1"]


def test_auto_finds_private_addresses_only() -> None:
    networks = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]
    for text in hardware.addresses(["auto"]):
        address = ipaddress.ip_address(text)
        assert any(address in network for network in networks if network.version == address.version)


def test_public_loopback_link_local_and_eui_64_addresses_are_never_published() -> None:
    def private(text: str) -> bool:
        return hardware._is_private(ipaddress.ip_address(text), ipaddress)

    refused = ["8.8.8.8", "127.0.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "2001:db8::1", "fe80::1", "::1"]
    assert not any(private(text) for text in [*refused, "::ffff:192.168.1.1", "fd00::1:2ff:fe03:4"])
    assert all(private(text) for text in ["10.1.2.3", "172.31.0.1", "192.168.7.20", "fd12:3456::1"])
