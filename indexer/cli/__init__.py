"""The verbs of the command `indexer`. Each imports what it needs when it runs, so that help is quick."""

import contextlib
import logging
import os
import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # Read when OpenMP loads. Threads that spin while they wait take the cores from decoding and from other programs.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from indexer.cli.commands import cli

    try:
        cli.main(prog_name="indexer")
    except SystemExit as e:
        if "torch" in sys.modules:
            _leave(e.code if isinstance(e.code, int) else 1)
        raise


def _leave(code: int) -> None:
    """End now: all is closed, and taking torch's modules apart costs the interpreter two seconds of a core."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
