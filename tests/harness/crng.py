"""A kernel whose random generator is not ready, for one real process: a seccomp filter and a supervisor in the test.

Run as a program it puts itself under the filter, hands the filter's listener to the test and becomes the command it was
given. In the test `NotReady` answers: getrandom(GRND_NONBLOCK) with EAGAIN, until `become_ready`. A call that would
have blocked, or that reads /dev/urandom (which gives guessable bytes then), kills the process and is on record.
Linux 5.14, x86-64 or arm64.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

# linux/seccomp.h, linux/filter.h
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_RET_USER_NOTIF, _RET_ALLOW = 0x7FC00000, 0x7FFF0000
_LD_W_ABS, _JEQ, _RET = 0x20, 0x15, 0x06
_NOTIF_RECV, _NOTIF_SEND, _NOTIF_ADDFD = 0xC0502100, 0xC0182101, 0x40182103
_CONTINUE = 1
_ADDFD_SEND = 2
_GRND_NONBLOCK, _GRND_INSECURE = 1, 4
_LONGEST_PATH = 64  # of those that are looked for
# Audit architecture, then the numbers of seccomp, getrandom, openat (asm/unistd.h).
_MACHINES = {"x86_64": (0xC000003E, 317, 318, 257), "aarch64": (0xC00000B7, 277, 278, 56)}


class NotReady:
    """A command under the filter. Use it as a context manager; `process` ends with it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.asked = 0
        """How often the process asked whether the generator is ready."""
        self.violations: list[str] = []
        self._ready = threading.Event()
        self._over = threading.Event()
        # What the process gets for /dev/random: it polls readable, as on a machine where poll and getrandom differ, and
        # a read takes what makes it so.
        self._device = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=[theirs.fileno()],
                # Python's hash seed is no key, but with no ready generator it would be read from /dev/urandom.
                env={**os.environ, **(environment or {}), "PYTHONHASHSEED": "0"},
            )
            theirs.close()
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        if not descriptors:
            raise AssertionError(f"the filter could not be set: {self.process.communicate()[1]}")
        self._listener = descriptors[0]
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._over.set()
        self._thread.join()
        self.process.communicate()
        os.close(self._listener)
        os.close(self._device)

    def become_ready(self) -> None:
        self._ready.set()

    @property
    def was_read(self) -> bool:
        """Whether the process has read from /dev/random."""
        return not select.select([self._device], [], [], 0)[0]

    def _supervise(self) -> None:
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        while not self._over.is_set():
            for _, events in poller.poll(50):
                if events & select.POLLHUP:  # nobody is under the filter any more
                    return
                self._answer_one()

    def _answer_one(self) -> None:
        notice = bytearray(80)
        try:
            fcntl.ioctl(self._listener, _NOTIF_RECV, notice)
        except OSError:  # the process was killed meanwhile
            return
        number, pid, _, call, _, _, *arguments = struct.unpack("=QIIiIQ6Q", notice)
        if call == _machine()[2]:
            self._getrandom(number, arguments[2])
        else:
            self._openat(number, pid, arguments[1], arguments[2])

    def _getrandom(self, number: int, flags: int) -> None:
        if self._ready.is_set() or flags & _GRND_INSECURE:
            self._go_on(number)
        elif flags & _GRND_NONBLOCK:
            self.asked += 1
            self._send(number, error=-errno.EAGAIN)
        else:
            self._kill("a getrandom that blocks")

    def _openat(self, number: int, pid: int, path_at: int, flags: int) -> None:
        path = _text_of(pid, path_at)
        if self._ready.is_set() or path not in {"/dev/random", "/dev/urandom"}:
            self._go_on(number)
        elif path == "/dev/urandom" and flags & os.O_ACCMODE != os.O_WRONLY:
            self._kill("/dev/urandom was opened to be read")
        elif path == "/dev/random":
            given = struct.pack("=QIIII", number, _ADDFD_SEND, self._device, 0, os.O_CLOEXEC)
            self._ioctl(_NOTIF_ADDFD, given)
        else:
            self._go_on(number)

    def _kill(self, why: str) -> None:
        self.violations.append(why)
        self.process.kill()

    def _go_on(self, number: int) -> None:
        self._send(number, flags=_CONTINUE)

    def _send(self, number: int, *, error: int = 0, flags: int = 0) -> None:
        self._ioctl(_NOTIF_SEND, struct.pack("=QqiI", number, 0, error, flags))

    def _ioctl(self, request: int, argument: bytes) -> None:
        try:
            fcntl.ioctl(self._listener, request, argument)
        except OSError as gone:
            if gone.errno != errno.ENOENT:  # a signal has interrupted the call: it asks again
                raise


def _machine() -> tuple[int, int, int, int]:
    return _MACHINES[platform.machine()]


def _text_of(pid: int, address: int) -> str:
    """Return the beginning of a string in the memory of a process that waits for an answer."""
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - unbuffered, at an offset
            memory.seek(address)
            return memory.read(_LONGEST_PATH).split(b"\0", 1)[0].decode(errors="replace")
    except OSError:  # the process is gone, or the string lies at the end of what is mapped
        return ""


def _filter() -> bytes:
    architecture, _, getrandom, openat = _machine()

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    return b"".join(
        [
            step(_LD_W_ABS, 4),  # struct seccomp_data: arch
            step(_JEQ, architecture, 0, 3),
            step(_LD_W_ABS, 0),  # nr
            step(_JEQ, getrandom, 2, 0),
            step(_JEQ, openat, 1, 0),
            step(_RET, _RET_ALLOW),
            step(_RET, _RET_USER_NOTIF),
        ]
    )


def _confine() -> int:
    """Put this process under the filter; returns the listener."""
    program = ctypes.create_string_buffer(_filter())
    head = ctypes.create_string_buffer(struct.pack("@HP", len(_filter()) // 8, ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    listener: int = libc.syscall(_machine()[1], _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(head))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def _main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    fd = array.array("i", [0])
    listener = _confine()
    fd[0] = listener
    # Not socket.send_fds: whatever that imports would wait for the answer of somebody who has no listener yet.
    channel.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fd)])
    channel.close()
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - becomes the command, no shell


if __name__ == "__main__":
    _main()
