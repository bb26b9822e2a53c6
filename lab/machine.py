"""Starts a real kernel in QEMU on an emulated machine whose every tick is computed, and reads what it said.

Knows QEMU's options and why each is needed. Does not know what is in the initramfs. Each machine is ended by its
process id, whatever happens to the one who waits for it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from parts.catalog import Command, find_command

PARTS = ("qemu", "qemu-modules", "qemu-data", "seabios", "linux", "busybox")
LIMIT_S = 300.0
SERIAL_TAIL = 2000
WORD = re.compile(rb"^lab: ([a-z0-9_-]+) (\S+)\r?$", re.MULTILINE)

# One instruction takes 4 ns of the guest's time and nothing else moves it on: no host clock reaches the guest.
DETERMINISTIC = ("-accel", "tcg,thread=single", "-icount", "shift=2,sleep=off", "-rtc", "base=1970-01-01,clock=vm")
# Machine types from 7.1 on hand the guest a random seed of the host's; this one has no RDRAND and no virtio-rng either.
BARE = ("-machine", "pc-i440fx-6.2", "-cpu", "qemu64", "-m", "256", "-nodefaults", "-no-user-config", "-nic", "none")
HEADLESS = ("-display", "none", "-no-reboot")
KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 random.trust_cpu=off random.trust_bootloader=off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One boot from power on to power off. `said` are the guest's own words by name, `took_s` the host's seconds."""

    said: Mapping[str, bytes]
    serial: bytes
    took_s: float

    def word(self, name: str) -> bytes:
        """Return what the guest said under a name.

        Raises:
            LabError: with the end of the serial output, when it did not.
        """
        if name not in self.said:
            raise LabError(f"the guest did not say {name!r}. The end of its serial output:\n{tail(self.serial)}")
        return self.said[name]

    def text(self, name: str) -> str:
        return self.word(name).decode().strip()


def part(name: str) -> Command:
    command = find_command(name)
    if command is None:
        raise LabError(f"{name} is not here: run `make parts` (the laboratory needs a machine of the kind amd64)")
    return command


async def boot(initramfs: bytes, folder: Path, *, serial_number: str = "", limit_s: float = LIMIT_S) -> Boot:
    """Boot the kernel with this initramfs; return when the guest has switched itself off.

    Args:
        initramfs: one archive or several.
        folder: to be made, for the image and the serial output.
        serial_number: of the board, where the kernel finds such numbers (SMBIOS).
        limit_s: how long the guest may take.

    Raises:
        LabError: when it did not within `limit_s`, or QEMU could not run it.
    """
    image, serial = _prepare(folder, initramfs)
    began = time.monotonic()
    # A file as the serial port's other end never makes the guest wait, so nothing of the host's pace gets in.
    process = await asyncio.create_subprocess_exec(
        *_command(image, serial, serial_number),
        env={**os.environ, **part("qemu").env, "QEMU_MODULE_DIR": str(part("qemu-modules").path.parent)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit_s):
            _, complaint = await process.communicate()
    except TimeoutError:
        end = tail(serial.read_bytes())
        raise LabError(f"the guest did not switch itself off within {limit_s:.0f} s. Its last words:\n{end}") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        image.unlink()
    if process.returncode != 0:
        raise LabError(f"QEMU ended with status {process.returncode}: {complaint.decode().strip()}")
    said = serial.read_bytes()
    return Boot(said=words(said), serial=said, took_s=time.monotonic() - began)


def words(serial: bytes) -> dict[str, bytes]:
    """Return the guest's words: lines `lab: NAME BASE64` among whatever else is on the serial port."""
    found = {}
    for name, value in WORD.findall(serial):
        with contextlib.suppress(binascii.Error):  # a kernel message got in between: then it was not said
            found[name.decode()] = base64.b64decode(value, validate=True)
    return found


def tail(serial: bytes) -> str:
    return serial[-SERIAL_TAIL:].decode("ascii", "replace").strip() or "(nothing)"


def _prepare(folder: Path, initramfs: bytes) -> tuple[Path, Path]:
    folder.mkdir(parents=True)
    image, serial = folder / "initramfs", folder / "serial"
    image.write_bytes(initramfs)
    serial.touch()
    return image, serial


def _command(image: Path, serial: Path, serial_number: str) -> list[str]:
    return [
        str(part("qemu").path),
        *("-L", str(part("qemu-data").path.parent), "-L", str(part("seabios").path.parent)),
        *(*DETERMINISTIC, *BARE, *HEADLESS),
        *("-smbios", f"type=1,serial={serial_number or 'none'}"),
        *("-chardev", f"file,id=serial,path={_escaped(serial)}", "-serial", "chardev:serial"),
        *("-kernel", str(part("linux").path), "-initrd", str(image), "-append", KERNEL_OPTIONS),
    ]


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")  # a comma separates QEMU's options
