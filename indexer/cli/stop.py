"""`indexer stop`: end the process that holds the store."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable

import rich_click as click

from indexer.cli.options import Invocation, global_options, pass_invocation


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
    holder = running_server(config)
    if holder is None:
        say(f"nothing to stop: no server runs on {config.store_dir}")
        return OK
    started_s = time.monotonic()
    if not end_process(holder.pid, lambda: running_server(config) == holder, DRAIN_S):
        say(f"error: process {holder.pid} has not finished after {DRAIN_S:.0f} s; stop it again to end it at once")
        return FAILED
    say(f"stopped process {holder.pid} in {time.monotonic() - started_s:.1f} s")
    return OK


def end_process(pid: int, is_right: Callable[[], bool], timeout_s: float) -> bool:
    """Send SIGTERM and wait for the end; False if it is not over after `timeout_s`.

    Args:
        pid: The process.
        is_right: Whether `pid` still names the process that is meant. Asked when a process file descriptor is held:
            from then on no other process that took the number over can be hit.
        timeout_s: How long to wait.

    Raises:
        Unreachable: It is another user's.
    """
    from indexer.errors import Unreachable

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):  # not this system, or an old kernel
        return _end_by_number(pid, is_right, timeout_s)
    try:
        if not is_right():
            return True
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        ended, _, _ = select.select([descriptor], [], [], timeout_s)
        return bool(ended)
    except ProcessLookupError:
        return True
    except PermissionError as e:
        raise Unreachable(f"process {pid} belongs to another user; stop it as that user") from e
    finally:
        os.close(descriptor)


def _end_by_number(pid: int, is_right: Callable[[], bool], timeout_s: float) -> bool:
    os.kill(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + timeout_s
    while is_right() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return not is_right()
