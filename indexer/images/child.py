"""The far side of the pool: a nursery process, which imports everything once, and the children that it forks.

The nursery never decodes and has one thread, so a fork of it is a clean, warm decoder within milliseconds. It is
started as a program of its own, not by `multiprocessing`: nothing of the user's `__main__` runs in it.

Nothing outlives the service, not even after kill -9: the nursery ends when its control socket closes, and takes its
children along; the kernel ends a child whose nursery is gone.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import socket
from contextlib import suppress
from typing import Any, Final, Protocol

from indexer.errors import ImageRefused
from indexer.images.slot import Slot
from indexer.images.wire import HELLO, MESSAGE_BYTES, N_SLOTS, Reply, Request, Setup
from indexer.types import Decoded, Reason

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_N_FILES: Final = 32
_DETAIL_LENGTH: Final = 300


class Handler(Protocol):
    """What a child does with files: an `indexer.images.decode.ImageDecoder`, or a test's stand-in."""

    def decode(self, data: bytes) -> Decoded: ...
    def thumbnail(self, data: bytes, side_px: int) -> bytes: ...


def main(control_fd: int, setup_text: str) -> None:
    """Be the nursery until the control socket closes."""
    # Ctrl-C and a service manager's SIGTERM reach the whole group; the service drains and then closes the socket.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    try:
        setup = Setup.unpack(setup_text)
        module = importlib.import_module(setup.handler)
        module.prepare(setup.limits)
        handler: Handler = module.ImageDecoder(setup.preprocess, setup.limits)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    except Exception as e:  # noqa: BLE001 - whatever it was, the service must hear of it
        with suppress(BrokenPipeError):
            _say(control, {"error": f"{type(e).__name__}: {e}"})
        return
    # What is there now is shared by all children: keep the collector from touching, and so copying, its pages.
    gc.collect()
    gc.freeze()
    with suppress(BrokenPipeError):  # the service ended meanwhile; so does the nursery, at its first look
        _say(control, {"ready": True})
    _Nursery(control, handler, setup).run()
    # Taking torch down in good order takes a second, and somebody waits.
    os._exit(0)


class _Nursery:
    def __init__(self, control: socket.socket, handler: Handler, setup: Setup) -> None:
        self._control = control
        self._handler = handler
        self._setup = setup
        self._children: set[int] = set()

    def run(self) -> None:
        try:
            while True:
                message, fds, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 1 + N_SLOTS)
                if not message:
                    return
                request = json.loads(message)
                _say(self._control, {"status": self._end(request["end"])} if "end" in request else self._fork(fds))
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            for pid in tuple(self._children):
                self._end(pid)

    def _fork(self, fds: list[int]) -> dict[str, Any]:
        nursery = os.getpid()
        try:
            pid = os.fork()
        except OSError as e:
            for fd in fds:
                os.close(fd)
            return {"error": f"cannot fork: {e.strerror}"}
        if pid == 0:
            try:
                self._control.close()
                _live(socket.socket(fileno=fds[0]), [Slot(fd) for fd in fds[1:]], self._handler, self._setup, nursery)
            finally:
                os._exit(1)
        for fd in fds:
            os.close(fd)
        self._children.add(pid)
        return {"pid": pid}

    def _end(self, pid: int) -> int | None:
        """Kill and reap; the wait status says how it really ended if it was dead already. None: not ours."""
        if pid not in self._children:
            return None
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self._children.remove(pid)
        return status


def _live(jobs: socket.socket, slots: list[Slot], handler: Handler, setup: Setup, nursery: int) -> None:
    """A child's whole life."""
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    mapped, base = _memory_bytes(statm)
    _confine(mapped + setup.limits.memory_bytes, nursery)
    jobs.send(HELLO)
    n_done = 0
    while message := jobs.recv(MESSAGE_BYTES):
        reply = _answer(Request.unpack(message), slots, handler)
        n_done += 1
        grown = _memory_bytes(statm)[1] - base
        starved = reply.reason is Reason.DECODER_MEMORY
        retiring = starved or n_done >= setup.recycle_jobs or grown > setup.recycle_bytes
        jobs.send(reply._replace(retiring=retiring).pack())
        if retiring:
            break
    os._exit(0)


def _confine(mapped_bytes: int, nursery: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != nursery:
        os._exit(0)
    for what, bound in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _N_FILES),
        (resource.RLIMIT_AS, mapped_bytes),
    ):
        resource.setrlimit(what, (bound, bound))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    os.close(nowhere)


def _answer(request: Request, slots: list[Slot], handler: Handler) -> Reply:
    slot = slots[request.slot]
    try:
        data = slot.take(request.n_bytes)
        if request.side_px is not None:
            return Reply(request.slot, slot.put(handler.thumbnail(data, request.side_px)))
        decoded = handler.decode(data)
        n_bytes = slot.put(decoded.pixels)
        return Reply(request.slot, n_bytes, decoded.info.format, decoded.info.width_px, decoded.info.height_px)
    except ImageRefused as e:
        return Reply(request.slot, reason=e.reason, detail=e.detail[:_DETAIL_LENGTH])
    except MemoryError:
        return Reply(request.slot, reason=Reason.DECODER_MEMORY, detail="decoding it took more memory than allowed")
    except Exception as e:  # noqa: BLE001 - a child's loop: the picture fails, and says why
        detail = f"{type(e).__name__}: {e}"[:_DETAIL_LENGTH]
        return Reply(request.slot, reason=Reason.DECODER_CRASHED, detail=detail)


def _memory_bytes(statm: int) -> tuple[int, int]:
    """Memory of this process: all that is mapped, and what is resident of its own (neither files nor slots)."""
    mapped, resident, shared = map(int, os.pread(statm, 128, 0).split()[:3])
    page = resource.getpagesize()
    return mapped * page, (resident - shared) * page


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    control.send(json.dumps(message).encode())
