"""Starting, stopping, dying and coming back."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import threading
from pathlib import Path

import pytest

from tests.e2e.pictures import picture
from tests.e2e.program import eventually, program, run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def write_pictures(folder: Path, n: int, first: int = 0) -> dict[str, str]:
    """n pictures; path -> content hash."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for i in range(first, first + n):
        data = picture(i, side_px=64)
        path = folder / f"{i}.png"
        path.write_bytes(data)
        written[str(path)] = hashlib.sha256(data).hexdigest()
    return written


def test_after_kill_9_nothing_acknowledged_is_lost_and_nothing_is_encoded_twice(tmp_path: Path) -> None:
    rng = random.Random(11)
    with program(tmp_path) as made:
        expected = write_pictures(made.pictures, 40)
        for round in range(3):
            acknowledged = json.loads(made.run("status", "--json").stdout)["indexed"] if round else 0
            made.start()
            expected |= write_pictures(made.pictures / f"round-{round}", 40, first=1000 * (round + 1))
            wanted = rng.randrange(len(expected) // 2, len(expected))
            stats = eventually(lambda wanted=wanted: (s := made.stats())["indexed"] >= wanted and s, 60)
            assert stats["encoded_total"] <= len(expected) - acknowledged
            made.kill()
        acknowledged = json.loads(made.run("status", "--json").stdout)["indexed"]
        assert acknowledged >= stats["indexed"]
        made.start()
        stats = made.wait_indexed(len(expected))
        assert made.paths() == set(expected)
        assert stats["encoded_total"] <= len(expected) - acknowledged
        for path, hash in random.Random(1).sample(sorted(expected.items()), 20):
            assert made.search_image(Path(path).read_bytes())[0]["id"] == hash
        made.kill()
        made.start()
        assert made.wait_indexed(len(expected))["encoded_total"] == 0
        assert made.stop() == 0


def test_changes_made_while_nothing_ran_are_seen_at_the_start(tmp_path: Path) -> None:
    with program(tmp_path) as made:
        written = sorted(write_pictures(made.pictures, 10))
        made.start()
        made.wait_indexed(10)
        assert made.stop() == 0
        Path(written[0]).unlink()
        Path(written[1]).rename(made.pictures / "renamed.png")
        Path(written[2]).write_bytes(picture(77))
        write_pictures(made.pictures / "new", 1, first=500)
        made.start()
        stats = made.wait_indexed(10)
        assert made.paths() == {
            *written[3:], written[2], str(made.pictures / "renamed.png"), str(made.pictures / "new" / "500.png"),
        }  # fmt: skip
        assert stats["encoded_total"] == 2


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, "indexer stop"])
def test_a_stop_while_indexing_commits_the_running_batch_and_exits_with_0(tmp_path: Path, how: object) -> None:
    with program(tmp_path) as made:
        write_pictures(made.pictures, 300)
        made.start()
        assert made.process is not None
        eventually(lambda: made.stats()["indexed"] > 0)
        if isinstance(how, signal.Signals):
            made.process.send_signal(how)
        else:
            stopped = made.run("stop")
            assert stopped.returncode == 0, stopped.stderr
        assert made.process.wait(10) == 0
        assert "Traceback" not in made.log.read_text()
        told = json.loads(made.run("status", "--json").stdout)
        made.start()
        stats = made.wait_indexed(300)
        assert stats["encoded_total"] <= 300 - told["indexed"]


def test_without_a_server_the_shell_searches_rebuilds_and_tells(tmp_path: Path) -> None:
    with program(tmp_path) as made:
        written = write_pictures(made.pictures, 12)
        made.start()
        made.wait_indexed(12)
        assert made.stop() == 0

        path, hash = next(iter(written.items()))
        found = made.run("search", "--image", path, "--limit", "1", "--json")
        assert found.returncode == 0, found.stderr
        assert json.loads(found.stdout)["hits"][0]["id"] == hash
        words = made.run("search", "a red circle", "--limit", "3", "--paths-only")
        assert len(words.stdout.splitlines()) == 3

        for generation in (made.store / "index").glob("*/gen-*"):
            generation.unlink()
        rebuilt = made.run("rebuild")
        assert rebuilt.returncode == 0, rebuilt.stderr
        assert "12 restored" in rebuilt.stdout + rebuilt.stderr
        assert "0 encoded" in rebuilt.stdout + rebuilt.stderr
        anew = made.run("rebuild", "--reencode")
        assert anew.returncode == 0, anew.stderr
        assert "12 encoded" in anew.stdout + anew.stderr
        assert json.loads(made.run("status", "--json").stdout)["files"] == 12

        Path(path).unlink()
        verified = made.run("verify")
        assert verified.returncode == 1, verified.stderr
        assert "stale: 1" in verified.stdout
        assert json.loads(made.run("why", path, "--json").stdout)["standing"] == "not_there"


def test_another_preprocessing_opens_another_index_and_keeps_the_old_one(tmp_path: Path) -> None:
    with program(tmp_path) as made:
        write_pictures(made.pictures, 5)
        made.start()
        first = made.wait_indexed(5)["fingerprint"]
        assert made.stop() == 0
        made.configure({"decode": {"mode": "scaled"}})
        made.start()
        stats = made.wait_indexed(5)
        assert stats["fingerprint"] != first
        assert stats["encoded_total"] == 5
        assert {space["fingerprint"]: space["active"] for space in stats["spaces"]} == {
            first: False, stats["fingerprint"]: True,
        }  # fmt: skip
        assert made.stop() == 0
        made.configure({})
        made.start()
        assert made.wait_indexed(5)["encoded_total"] == 0
        assert made.stop() == 0


def test_without_weights_and_hub_one_message_tells_the_three_ways_out(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text((Path(__file__).parents[2] / "config.toml").read_text())
    answer = run("serve", cwd=tmp_path, HF_HOME=str(tmp_path / "hub"))
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    for way in ("ViT-H-14", "laion2b_s32b_b79k", "pretrained", "indexer demo"):
        assert way in answer.stderr


def test_demo_draws_indexes_and_says_what_to_try(tmp_path: Path) -> None:
    import subprocess

    from tests.e2e.program import INDEXER, environment, free_port

    port = free_port()
    process = subprocess.Popen(
        [*INDEXER, "demo", "--dir", str(tmp_path / "demo"), "--images", "40", "--port", str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
    )  # fmt: skip
    lines: list[str] = []
    tried = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "curl" in line:
                tried.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert tried.wait(90), "".join(lines)
        eventually(lambda: "".join(lines).count("curl") >= 2)
        text = "".join(lines)
        assert f"http://127.0.0.1:{port}" in text
        assert str(tmp_path / "demo" / "pictures") in text
        assert " search " in text
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
        reader.join(5)
        assert process.stdout is not None
        process.stdout.close()
