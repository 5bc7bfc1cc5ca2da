"""The near side of the nursery: where fresh decoder children come from."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import Any, Final

from indexer.errors import CapacityError, Stopped
from indexer.images.slot import Slot
from indexer.images.wire import HELLO, MESSAGE_BYTES, N_SLOTS, Setup

_START_S: Final = 300.0
"""Importing torch from a cold disk was seen to take 40 s."""
_HELLO_S: Final = 30.0
_END_S: Final = 5.0

# The nursery sees the same modules as this process, whatever it was started from, and never its `__main__`.
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from indexer.images.child import main; main(int(sys.argv[2]), sys.argv[3])"
)

# One thread per child and no device.
_ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(slots=True)
class Child:
    """A decoder process, its socket, and the memory shared with it. `n_served` counts the replies it gave."""

    pid: int
    jobs: socket.socket
    slots: tuple[Slot, ...]
    n_served: int = field(default=0)

    def close(self) -> None:
        self.jobs.close()
        for slot in self.slots:
            slot.close()


class _Lost(Exception):
    """The nursery was killed by someone, or by the kernel for want of memory. Its children went with it."""


class Nursery:
    """Starts at once and in the background; `fork` waits until it is ready. Started anew when it was lost.

    Args:
        setup: What its children are to do.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._lock = threading.Lock()
        self._closed = False
        self._start()

    def fork(self) -> Child:
        """A fresh child, ready for work.

        Raises:
            CapacityError: It could not be had.
            Stopped: The nursery is closed.
        """
        try:
            return self._fork()
        except _Lost:
            pass
        try:
            return self._fork()
        except _Lost as e:
            raise CapacityError("decode workers cannot be started: their process ends at once") from e

    def end(self, child: Child) -> str | None:
        """Kill, reap and forget a child; says how it ended, for people. None: it went with its nursery."""
        child.close()
        return self._bury(child.pid)

    def _bury(self, pid: int) -> str | None:
        try:
            status = self._ask({"end": pid})["status"]
        except (_Lost, CapacityError, Stopped):
            return None
        if status is None:
            return None
        code = os.waitstatus_to_exitcode(status)
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def close(self) -> None:
        """End it and every child, now."""
        self._closed = True
        if not self._ready:
            self._process.kill()
        with contextlib.suppress(OSError):
            # Wakes a thread that waits for an answer; on the far side it means: end your children, then yourself.
            self._control.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._reap()

    def _start(self) -> None:
        self._ready = False
        self._control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_START_S)
        command = [sys.executable, "-c", _BOOT, json.dumps(sys.path), str(far.fileno()), self._setup.pack()]
        with far:
            try:
                self._process = subprocess.Popen(
                    command,
                    pass_fds=[far.fileno()],
                    env={**os.environ, **_ENVIRONMENT},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as e:
                self._control.close()
                raise CapacityError(f"decode workers cannot be started: {e}") from e

    def _reap(self) -> None:
        self._control.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _fork(self) -> Child:
        with contextlib.ExitStack() as undo:
            try:
                near, far = map(undo.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                slots = []
                for _ in range(N_SLOTS):
                    slots.append(Slot.create(self._setup.slot_bytes))
                    undo.callback(slots[-1].close)
            except OSError as e:
                raise CapacityError(f"decode workers cannot be started: {e.strerror}") from e
            reply = self._ask({"fork": True}, [far.fileno(), *(slot.fd for slot in slots)])
            child = Child(reply["pid"], near, tuple(slots))
            far.close()
            self._greet(child)
            undo.pop_all()
        return child

    def _ask(self, question: dict[str, Any], fds: list[int] | None = None) -> dict[str, Any]:
        """Raises `_Lost` when the nursery is gone; it has been started anew then, without its children."""
        with self._lock:
            if self._closed:
                raise Stopped("the decoder is closed")
            try:
                return self._exchange(question, fds or [])
            except (OSError, EOFError) as e:
                if self._closed:
                    raise Stopped("the decoder is closed") from None
                self._reap()
                self._start()
                if self._closed:
                    self._process.kill()
                raise _Lost from e

    def _exchange(self, question: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        if not self._ready:
            self._hear()
            self._ready = True
        socket.send_fds(self._control, [json.dumps(question).encode()], fds)
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        message = self._control.recv(MESSAGE_BYTES)
        if not message:
            raise EOFError
        answer: dict[str, Any] = json.loads(message)
        if "error" in answer:
            raise CapacityError(f"decode workers cannot be started: {answer['error']}")
        return answer

    def _greet(self, child: Child) -> None:
        child.jobs.settimeout(_HELLO_S)
        try:
            heard = child.jobs.recv(MESSAGE_BYTES)
        except OSError:
            heard = b""
        if heard == HELLO:
            return
        ending = self._bury(child.pid)
        if ending is None:
            raise _Lost
        raise CapacityError(f"a decode worker ended at its start: {ending}; check memory and process limits")
