"""Randomness on a box that may have none: sources, the non-blocking look at the kernel, the extractor.

Knows which bytes are mixed, in which order, and what is derived from the mix (protocol.md, "Contribution" and
"Readiness"). Never blocks in the kernel's generator and never asks it blindly: until `Kernel.random` returns bytes,
nothing here or above may use TLS or `os.urandom`. Does not know what the derived values are used for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import select
import struct
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from otscert_agent.errors import NotReadyError
from otscert_agent.wire import kdf

SECRET_BYTES = 32
CANARY_BYTES = 16

_HELLO_KEY = b"otscert/v1/hello-key"
_ID_SEED = b"otscert/v1/id-seed"
_NONCE = b"otscert/v1/nonce"
_POOL = b"otscert/v1/pool"


class Crng:
    """What the kernel says about its generator."""

    READY = "ready"
    NOT_READY = "not-ready"
    UNKNOWN = "unknown"  # a kernel that cannot be asked (< 3.17)


@dataclass(frozen=True)
class Sources:
    """Every source, always all of them, in this order; empty when a box lacks it (firstboot.md 1.6)."""

    kernel: bytes = b""
    hwrng: bytes = b""
    tpm: bytes = b""
    factory: bytes = b""
    pool: bytes = b""
    ids: bytes = b""
    times: bytes = b""
    owner: bytes = b""

    def used(self) -> list[str]:
        return [member.name for member in fields(self) if getattr(self, member.name)]


class Kernel(Protocol):
    """The machine's randomness. No method blocks longer than its `timeout_s`; none needs a ready generator."""

    def random(self, length: int) -> bytes:
        """Kernel bytes; raise `NotReadyError` while not ready, and `OSError` when the kernel cannot be asked."""

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the generator is ready or the time has passed."""

    def hwrng(self, length: int) -> bytes:
        """Bytes of the hardware generator; empty when there is none."""

    def times(self) -> bytes:
        """Clocks and boot id: not secret, but different at each boot."""

    def since_boot_s(self) -> float | None:
        """Seconds since the machine was switched on; None when it does not say."""

    def stir(self, data: bytes) -> None:
        """Write `data` to the kernel's pool without credit (harmless, and useful to everything else on the box)."""

    def credit(self, seed: bytes) -> bool:
        """Mix in `seed` (secret, never used before), credit it in full, reseed; False when this process may not."""


class LinuxKernel:
    """The real one."""

    random_device = Path("/dev/random")  # waited for, never read

    def random(self, length: int) -> bytes:
        try:
            return os.getrandom(length, os.GRND_NONBLOCK)
        except BlockingIOError:
            raise NotReadyError("the kernel's random number generator is not ready yet") from None

    def wait_ready(self, timeout_s: float) -> None:
        # /dev/random polls readable if and only if the generator is ready; it wakes us, nothing is read.
        try:
            descriptor = os.open(self.random_device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # early in a boot, or in a sandbox: whoever waits has a least pause of his own
            return
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            poller.poll(timeout_s * 1000)
        finally:
            os.close(descriptor)

    def hwrng(self, length: int) -> bytes:
        # Absent, without a driver behind it, or empty for the moment: all mean that this source gives nothing now.
        with contextlib.suppress(OSError):
            descriptor = os.open("/dev/hwrng", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                return os.read(descriptor, length)
            finally:
                os.close(descriptor)
        return b""

    def times(self) -> bytes:
        boot_id = b""
        with contextlib.suppress(OSError):
            boot_id = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        return b"%d %d %s" % (time.time_ns(), time.monotonic_ns(), boot_id.strip())

    def since_boot_s(self) -> float | None:
        try:
            return round(time.clock_gettime(time.CLOCK_BOOTTIME), 3)
        except (AttributeError, OSError):
            return None

    def stir(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # mixing in user space does not depend on it
            descriptor = os.open("/dev/urandom", os.O_WRONLY | os.O_CLOEXEC)  # never creates a file of that name
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)

    def credit(self, seed: bytes) -> bool:
        # CAP_SYS_ADMIN is needed (random(4)); without it the seed still counts, in the mix of user space.
        try:
            descriptor = os.open("/dev/urandom", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            # struct rand_pool_info: entropy_count in bits, buf_size in bytes, the buffer.
            fcntl.ioctl(descriptor, RNDADDENTROPY, struct.pack("@ii", 8 * len(seed), len(seed)) + seed)
            with contextlib.suppress(OSError):  # before Linux 4.17 there is no such request, and the credit reseeds
                fcntl.ioctl(descriptor, RNDRESEEDCRNG)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


def _ioctl_numbers(machine: str) -> tuple[int, int]:
    """RNDADDENTROPY and RNDRESEEDCRNG; some architectures write the direction of an ioctl in other bits."""
    odd = machine.startswith(("mips", "ppc", "powerpc", "sparc", "alpha"))
    write, none = (4 << 29, 1 << 29) if odd else (1 << 30, 0)
    kind = ord("R") << 8
    return write | 8 << 16 | kind | 0x03, none | kind | 0x07  # asm-generic/ioctl.h; int[2] has 8 bytes


RNDADDENTROPY, RNDRESEEDCRNG = _ioctl_numbers(os.uname().machine)


@dataclass(frozen=True)
class Mix:
    """One extraction: the pseudorandom key and what HQ may know about it."""

    prk: bytes
    crng: str
    hwrng: bool
    used: list[str]

    def d0_bytes(self, *, purpose: bytes, attempt: int, seq: int) -> bytes:
        """48 bytes for the box's half of a key: different for every (attempt, seq), whatever the sources do."""
        info = b"%s\x00%s\x00%d\x00%d" % (kdf.D0, purpose, attempt, seq)
        return kdf.hkdf_expand(self.prk, info, 48)

    def hello_seed(self) -> bytes:
        return kdf.hkdf_expand(self.prk, _HELLO_KEY, SECRET_BYTES)

    def id_seed(self) -> bytes:
        return kdf.hkdf_expand(self.prk, _ID_SEED, SECRET_BYTES)

    def nonce(self, length: int) -> bytes:
        return kdf.hkdf_expand(self.prk, _NONCE, length)

    def next_pool(self) -> bytes:
        return kdf.hkdf_expand(self.prk, _POOL, SECRET_BYTES)

    @property
    def source(self) -> str:
        """The claim of protocol v1: starved is only for kernels that cannot be asked."""
        if self.hwrng:
            return "hwrng"
        return "starved" if self.crng == Crng.UNKNOWN else "jitter"


def extract(sources: Sources) -> bytes:
    """PRK over all sources, each with its name and length, so that no two source lists collide."""
    mixed = b""
    for member in fields(sources):
        value: bytes = getattr(sources, member.name)
        name = member.name.encode("ascii")
        mixed += bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
    return kdf.hkdf_extract(kdf.EXTRACT, mixed)


def look(kernel: Kernel, length: int) -> tuple[str, bytes]:
    """Ask the kernel without blocking: (crng state, bytes). The bytes are empty unless it is ready."""
    try:
        return Crng.READY, kernel.random(length)
    except NotReadyError:
        return Crng.NOT_READY, b""
    except OSError:
        return Crng.UNKNOWN, b""


def gather(kernel: Kernel, *, pool: bytes, ids: bytes, attempt: int, factory: bytes = b"") -> Mix:
    """Mix every source. Raise `NotReadyError` while the kernel's generator is not ready (protocol.md, "Readiness")."""
    crng, kernel_bytes = look(kernel, SECRET_BYTES)
    if crng == Crng.NOT_READY:
        raise NotReadyError("waiting for randomness: the kernel's random number generator is not ready")
    hwrng = kernel.hwrng(SECRET_BYTES)
    times = kernel.times() + b" %d" % attempt
    sources = Sources(kernel=kernel_bytes, hwrng=hwrng, factory=factory, pool=pool, ids=ids, times=times)
    prk = extract(sources)
    kernel.stir(kdf.hkdf_expand(prk, b"otscert/v1/kernel", SECRET_BYTES))
    # Mixed in whatever it gave; claimed only when it gave what was asked for, and not one byte repeated.
    works = len(hwrng) == SECRET_BYTES and len(set(hwrng)) > 1
    return Mix(prk=prk, crng=crng, hwrng=works, used=sources.used())


def canary(kernel: Kernel) -> str:
    """SHA-256 (hex) of 16 kernel bytes drawn before anything is mixed; empty when the kernel gives none."""
    _, drawn = look(kernel, CANARY_BYTES)
    return hashlib.sha256(drawn).hexdigest() if drawn else ""


def refreshed_pool(pool: bytes, seed: bytes) -> bytes:
    """The saved pool after HQ's fresh `seed`: whoever missed one exchange has lost it."""
    return hmac.new(pool or bytes(SECRET_BYTES), _POOL + seed, hashlib.sha256).digest()
