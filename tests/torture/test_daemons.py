"""Two daemons on one store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks.torture.daemon import Daemon


def test_a_second_daemon_is_refused_with_the_pid_of_the_first_until_that_is_killed(tmp_path: Path) -> None:
    first = Daemon(tmp_path).start()
    second = subprocess.run(
        [
            sys.executable, "-m", "indexer", "serve", "--folder", str(first.pictures),
            "--set", f"store.dir={first.store}", "--set", "model.name=demo", "--set", "api.port=17871",
        ],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert second.returncode == 4
    assert f"in use by process {first.process.pid};" in second.stderr
    assert "Traceback" not in second.stderr
    os.kill(first.process.pid, signal.SIGKILL)
    assert first.wait_gone() == -signal.SIGKILL
    third = Daemon(tmp_path).start()
    assert third.check() == []
    third.stop()
