from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.errors import StoreError, StoreFull, StoreLocked
from indexer.store import data_dir
from indexer.store.data_dir import DataDir, Holder

HOLD = """
import sys
from pathlib import Path
from indexer.store.data_dir import DataDir
data = DataDir(Path(sys.argv[1]))
with data.lock():
    data.publish("http://127.0.0.1:1")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_makes_a_private_layout(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "a" / "data")
    with data.lock():
        assert data.features.is_dir()
        assert data.index.is_dir()
        assert (data.path.stat().st_mode & 0o777) == 0o700


def test_the_holder_is_known_while_it_holds_and_not_after(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    assert data.holder() is None
    with data.lock():
        assert DataDir(tmp_path).holder() == Holder(os.getpid(), None)
        data.publish("http://127.0.0.1:7860")
        assert DataDir(tmp_path).holder() == Holder(os.getpid(), "http://127.0.0.1:7860")
    assert DataDir(tmp_path).holder() is None


def test_asking_for_the_holder_makes_nothing(tmp_path: Path) -> None:
    assert DataDir(tmp_path / "data").holder() is None
    assert not (tmp_path / "data").exists()


def test_a_second_taker_is_refused_and_told_the_firsts_pid_until_kill_9_frees_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(StoreLocked, match=str(first.pid)) as refused, DataDir(tmp_path).lock():
            pass
        assert refused.value.pid == first.pid
        assert DataDir(tmp_path).holder() == Holder(first.pid, "http://127.0.0.1:1")
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    assert DataDir(tmp_path).holder() is None
    with DataDir(tmp_path).lock():
        pass


def test_a_store_in_use_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    DataDir(tmp_path / "data").require_free()
    assert not (tmp_path / "data").exists()
    with DataDir(tmp_path).lock(), pytest.raises(StoreLocked, match=str(os.getpid())):
        DataDir(tmp_path).require_free()
    DataDir(tmp_path).require_free()


def test_a_shorter_address_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    with data.lock():
        data.publish("http://127.0.0.1:7860/" + "x" * 100)
        data.publish("http://a")
        assert DataDir(tmp_path).holder() == Holder(os.getpid(), "http://a")


def test_a_place_that_cannot_be_made_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreFull, match="name another folder"), DataDir(tmp_path / "file" / "data").lock():
        pass


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_dir, "_file_system", lambda path: "nfs4")
    with pytest.raises(StoreError, match="network file system"), DataDir(tmp_path).lock():
        pass


def test_the_file_system_of_a_folder_is_known(tmp_path: Path) -> None:
    assert data_dir._file_system(tmp_path) not in ("", None)


def test_someone_who_asks_for_the_holder_does_not_keep_a_server_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDir(tmp_path)
    with data.lock():
        pass
    asking = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            fcntl.flock(asking, fcntl.LOCK_UN)

    monkeypatch.setattr(data_dir.time, "sleep", pause)
    with data.lock():
        assert DataDir(tmp_path).holder() == Holder(os.getpid(), None)
    assert len(pauses) == 3
    os.close(asking)


def test_a_pid_that_names_another_process_here_is_not_told(tmp_path: Path) -> None:
    """As a server in a container has it, or one that died and whose number was taken over."""
    data = DataDir(tmp_path)
    with data.lock():
        content = json.loads((tmp_path / "lock").read_text())
        (tmp_path / "lock").write_text(json.dumps({**content, "pid": 1, "url": "http://here"}))
        assert DataDir(tmp_path).holder() == Holder(0, "http://here")
        with pytest.raises(StoreLocked, match="another process") as refused, DataDir(tmp_path).lock():
            pass
        assert refused.value.pid is None


def test_a_holder_that_has_not_written_yet_is_a_holder_all_the_same(tmp_path: Path) -> None:
    with DataDir(tmp_path).lock():
        for content in (b"", b"{", b"[]", b'{"pid": null}'):
            (tmp_path / "lock").write_bytes(content)
            assert DataDir(tmp_path).holder() == Holder(0, None)


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    with DataDir(tmp_path).lock():
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    assert DataDir(tmp_path).holder() is None
    with DataDir(tmp_path).lock():
        pass
    child.communicate()
