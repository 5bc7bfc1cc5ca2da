"""`indexer stop`: end the process that holds the store."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import rich_click as click

from indexer.cli.options import Invocation, global_options, pass_invocation

if TYPE_CHECKING:
    from indexer.store.data_dir import Holder

POLL_S: Final = 0.05

NAMED_AFTER_S: Final = 2.0
"""A holder writes its number within microseconds; this is for a machine that swaps."""


@click.command()
@global_options
@pass_invocation
def stop(invocation: Invocation) -> int:
    """Stop the running server or `watch`.

    Waits until what is under way is finished. No server is no error. If it takes longer than 10 s the exit code is 1;
    another `indexer stop` then ends it at once.
    """
    from indexer.cli.door import FAILED, OK
    from indexer.cli.signals import DRAIN_S
    from indexer.cli.terminal import say
    from indexer.engine import running_server

    config = invocation.load().config
    holder = _named_holder(lambda: running_server(config))
    if holder is None:
        say(f"nothing to stop: no server runs on {config.store_dir}")
        return OK
    started_s = time.monotonic()
    if not end_process(holder.pid, lambda: running_server(config) == holder, DRAIN_S):
        say(f"error: process {holder.pid} has not finished after {DRAIN_S:.0f} s; stop it again to end it at once")
        return FAILED
    say(f"stopped process {holder.pid} in {time.monotonic() - started_s:.1f} s")
    return OK


def _named_holder(look: Callable[[], Holder | None]) -> Holder | None:
    """Who holds the store. One that has only just taken it has not written its number yet."""
    from indexer.errors import Unreachable

    deadline_s = time.monotonic() + NAMED_AFTER_S
    while (holder := look()) is not None and holder.pid <= 0:
        if time.monotonic() > deadline_s:
            raise Unreachable("the process that holds the store does not tell its number; end it by hand")
        time.sleep(POLL_S)
    return holder


def end_process(pid: int, is_right: Callable[[], bool], timeout_s: float) -> bool:
    """Send SIGTERM and wait until the store is free; False if it is not after `timeout_s`.

    Args:
        pid: The process.
        is_right: Whether `pid` still holds the store. Asked first when a process file descriptor is held, where there
            are such: from then on no other process that took the number over can be hit.
        timeout_s: How long to wait.

    Raises:
        Unreachable: It is another user's.
    """
    from indexer.errors import Unreachable

    with ExitStack() as stack:
        try:
            descriptor = _descriptor_of(pid, stack)
            if not is_right():
                return True
            if descriptor is None:
                os.kill(pid, signal.SIGTERM)
            else:
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        except ProcessLookupError:
            return True
        except PermissionError as e:
            raise Unreachable(f"process {pid} belongs to another user; stop it as that user") from e
        deadline_s = time.monotonic() + timeout_s
        while (held := is_right()) and time.monotonic() < deadline_s:
            # Wakes when the process ends, where that can be known.
            select.select([] if descriptor is None else [descriptor], [], [], POLL_S)
        return not held


def _descriptor_of(pid: int, stack: ExitStack) -> int | None:
    """A descriptor that stands for this very process; None on a system without, or an old kernel."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):
        return None
    stack.callback(os.close, descriptor)
    return descriptor
