"""The demo's folder, and the commands that it prints."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from indexer import engine as engine_package
from indexer.cli import demo as verb
from indexer.cli import demo_folder
from indexer.cli.demo_folder import EXAMPLE_WORDS, SEED, DemoFolder
from indexer.config import Config
from indexer.errors import ConfigError, StoreFull
from indexer.scenes import random_scene
from indexer.store.data_dir import Holder
from tests.cli.conftest import Run
from tests.cli.test_serve import Opened, port, taken  # noqa: F401

URL = "http://127.0.0.1:7860"


class DemoEngine(Opened):
    """Has nothing left to do; a demo that says it is ready gets a signal."""

    def publish(self, url: str) -> None:
        self.urls.append(url)

    def wait_idle(self, timeout_s: float) -> bool:
        return True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[DemoEngine]:
    engines: list[DemoEngine] = []

    def open_engine(config: Config) -> DemoEngine:
        engines.append(DemoEngine(config))
        return engines[-1]

    def welcome(*arguments: object) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)  # type: ignore[arg-type]

    real = verb.welcome
    monkeypatch.setattr(verb, "welcome", welcome)
    monkeypatch.setattr(engine_package, "open_engine", open_engine)
    monkeypatch.setattr(engine_package, "running_server", lambda config: None)
    return engines


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_demo_draws_serves_and_says_what_to_try(
    run: Run,
    opened: list[DemoEngine],
    tmp_path: Path,
    port: int,  # noqa: F811
) -> None:
    outcome = run("demo", "--images", "4", "--port", str(port))
    assert outcome.code == 0
    (engine,) = opened
    assert engine.config.model.name == "demo"
    assert engine.config.folders == (tmp_path / "demo" / "pictures",)
    assert engine.config.store_dir == tmp_path / "demo" / "data"
    assert len(files_below(tmp_path / "demo" / "pictures")) == 4
    for said in (f"http://127.0.0.1:{port}", str(tmp_path / "demo" / "pictures"), "curl", "search"):
        assert said in outcome.out
    assert "drew 4 pictures" in outcome.err
    assert engine.closed


def test_a_second_start_keeps_the_pictures(
    run: Run,
    opened: list[DemoEngine],
    tmp_path: Path,
    port: int,  # noqa: F811
) -> None:
    run("demo", "--images", "3", "--port", str(port))
    pictures = tmp_path / "demo" / "pictures"
    next(pictures.rglob("*.*")).unlink()
    (pictures / "mine.jpg").write_bytes(b"mine")
    before = files_below(pictures)
    outcome = run("demo", "--images", "9", "--port", str(port))
    assert outcome.code == 0
    assert files_below(pictures) == before
    assert "drew" not in outcome.err


def test_a_taken_port_makes_way_for_the_next_free_one_and_is_told(
    run: Run,
    opened: list[DemoEngine],
    taken: int,  # noqa: F811
) -> None:
    outcome = run("demo", "--images", "1", "--port", str(taken))
    assert outcome.code == 0
    assert f"port {taken} is taken; using " in outcome.err
    chosen = opened[0].urls[0].rpartition(":")[2]
    assert int(chosen) > taken
    assert f":{chosen}/api/search" in outcome.out


def test_a_demo_that_runs_already_is_told_with_its_address(
    run: Run, opened: list[DemoEngine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine_package, "running_server", lambda config: Holder(77, URL))
    outcome = run("demo")
    assert outcome.code == 4
    assert URL in outcome.err
    assert not (tmp_path / "demo" / "pictures").exists()


def test_the_demo_takes_no_settings_file(run: Run, tmp_path: Path) -> None:
    outcome = run("--config", "config.toml", "demo")
    assert outcome.code == 2
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- the folder


def test_a_folder_with_settings_of_its_own_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[model]\nname = "ViT-H-14"\n')
    with pytest.raises(ConfigError, match=r"another --dir"):
        DemoFolder(tmp_path).load({})
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_an_environment_that_names_another_model_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXER_MODEL__NAME", "ViT-H-14")
    with pytest.raises(ConfigError, match=r"unset INDEXER_MODEL__NAME$"):
        DemoFolder(tmp_path / "demo").load({})


def test_settings_that_were_changed_in_place_are_kept(tmp_path: Path) -> None:
    home = DemoFolder(tmp_path)
    home.load({})
    home.settings.write_text(home.settings.read_text().replace("0.3", "0.7"))
    assert home.load({}).config.watch.settle_s == 0.7


def test_a_drawing_that_is_interrupted_is_begun_anew(tmp_path: Path) -> None:
    home = DemoFolder(tmp_path)
    drawing = home.draw(3)
    next(drawing)
    drawing.close()
    assert not home.pictures.exists()
    assert list(home.draw(3)) == [1, 2, 3]
    assert len(files_below(home.pictures)) == 3
    assert not (tmp_path / ".drawing").exists()


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"another"):
        DemoFolder(tmp_path / "file" / "demo").load({})


def test_a_full_disk_while_drawing_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo_folder, "write_scenes", full)
    with pytest.raises(StoreFull, match=r"No space left"):
        list(DemoFolder(tmp_path).draw(3))


def test_the_words_to_try_are_true_of_some_picture() -> None:
    captions = [random_scene(np.random.default_rng((SEED, i))).caption() for i in range(200)]
    assert any(caption.startswith(EXAMPLE_WORDS) for caption in captions)


# ---------------------------------------------------------------- what it prints


@pytest.fixture
def printed(tmp_path: Path) -> list[list[str]]:
    """The words of each command, of a demo in a folder whose name needs quoting."""
    home = DemoFolder(tmp_path / "it's a demo")
    home.load({})
    picture = home.pictures / "shelf a" / "one.jpg"
    picture.parent.mkdir(parents=True)
    picture.touch()
    lines = verb.welcome(URL, home, "/opt/my\\ tools/indexer").splitlines()
    return [shlex.split(line) for line in lines if line.startswith("  ")]


def test_three_commands_are_printed_ready_to_paste(printed: list[list[str]], tmp_path: Path) -> None:
    ask, by_words, by_picture = printed
    assert ask[:3] == ["/opt/my tools/indexer", "--config", str(tmp_path / "it's a demo" / "config.toml")]
    assert ask[3:] == ["search", *EXAMPLE_WORDS.split()]
    assert by_words[2] == f"{URL}/api/search"
    assert json.loads(by_words[-1]) == {"text": EXAMPLE_WORDS, "limit": 3}
    assert by_picture[2] == f"{URL}/api/search/image?limit=3"
    assert by_picture[-1] == f"@{tmp_path}/it's a demo/pictures/shelf a/one.jpg"


def calls(monkeypatch: pytest.MonkeyPatch, called_as: str) -> str:
    monkeypatch.setattr(sys, "argv", [called_as, "demo"])
    return verb.program()


def test_the_program_is_named_so_that_the_shell_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "my tools" / "indexer"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert calls(monkeypatch, "my tools/indexer") == f"'{script}'"
    monkeypatch.setenv("PATH", str(script.parent))
    assert calls(monkeypatch, str(script)) == "indexer"
    assert calls(monkeypatch, "/x/indexer/__main__.py") == f"{sys.executable} -m indexer"


def test_the_printed_question_is_valid_for_a_shell(printed: list[list[str]]) -> None:
    line = shlex.join(printed[1][1:])
    echoed = subprocess.run(["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True).stdout
    assert echoed.splitlines()[-1] == printed[1][-1]
