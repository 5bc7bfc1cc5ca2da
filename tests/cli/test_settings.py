"""`indexer config`: the settings in force, and what is said of those that cannot be used."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.cli.settings import toml_value
from indexer.config import Config, load
from tests.cli.conftest import Run


def test_show_prints_a_file_that_loads_as_the_same_settings(run: Run, tmp_path: Path) -> None:
    outcome = run("config", "show", "--set", "watch.settle_s=2.5", "--set", "watch.folders=a:b")
    assert outcome.code == 0
    (tmp_path / "shown.toml").write_text(outcome.out)
    flags = {"watch.settle_s": "2.5", "watch.folders": "a:b"}
    assert load(tmp_path / "shown.toml", environ={}).config == load(flags=flags, environ={}, cwd=tmp_path).config


def test_show_tells_where_each_value_comes_from(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("[api]\nport = 1234\n")
    monkeypatch.setenv("INDEXER_WATCH__RESCAN_S", "60")
    lines = run("config", "show", "--set", "watch.settle_s=2").out.splitlines()
    assert lines[0] == f"# file: {tmp_path / 'config.toml'}"
    assert "port = 1234  # file" in lines
    assert "rescan_s = 60.0  # environment" in lines
    assert "settle_s = 2.0  # flag" in lines
    assert 'host = "127.0.0.1"  # default' in lines


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_show_hides_the_api_key(run: Run, form: list[str]) -> None:
    outcome = run("config", "show", "--set", "api.api_key=swordfish-swordfish", *form)
    assert "swordfish" not in outcome.out
    assert "(hidden)" in outcome.out


def test_show_as_json_holds_value_and_source(run: Run) -> None:
    shown = json.loads(run("config", "show", "--json", "--set", "api.port=1234").out)
    assert shown["api"]["port"] == {"value": 1234, "source": "flag"}
    assert set(shown) == set(Config.model_fields)


def test_validate_is_silent_on_stdout_and_succeeds(run: Run) -> None:
    outcome = run("config", "validate")
    assert (outcome.code, outcome.out) == (0, "")
    assert "valid" in outcome.err


@pytest.mark.parametrize("flags", [("api.host=0.0.0.0",), ("api.api_key=short",)])
def test_validate_refuses_what_serve_would(run: Run, flags: tuple[str, ...]) -> None:
    outcome = run("config", "validate", *(word for flag in flags for word in ("--set", flag)))
    assert outcome.code == 2
    assert "api_key" in outcome.err


def test_options_stand_before_or_after_the_verb_and_the_later_wins(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[api]\nport = 1111\n")
    shown = [
        run("--config", "other.toml", "config", "show", "--json").out,
        run("config", "--config", "other.toml", "show", "--json").out,
        run("config", "show", "--json", "--config", "other.toml").out,
    ]
    assert {json.loads(text)["api"]["port"]["value"] for text in shown} == {1111}
    twice = run("--set", "api.port=1", "config", "show", "--set", "api.port=2", "--json").out
    assert json.loads(twice)["api"]["port"]["value"] == 2


@given(st.recursive(st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                    | st.text(st.characters(exclude_categories=["Cs"])), st.lists, max_leaves=5))  # fmt: skip
def test_any_value_survives_its_spelling_as_toml(value: object) -> None:
    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value


# ---------------------------------------------------------------- what cannot be used

BAD_FILES = {
    "[watch]\nsetle_s = 1": "watch.setle_s",
    "[wach]\nsettle_s = 1": "wach",
    "settle_s = 1": "settle_s",
    "watch = 3": "watch",
    "[[watch]]\nsettle_s = 1": "watch",
    "[watch]\nfolders = 3": "watch.folders",
    "[watch]\nfolders = ['a', 3]": "watch.folders",
    "[watch]\nfolders = []": "watch.folders",
    "[watch]\nfolders = ['a', 'a/b']": "watch.folders",
    "[watch]\nfolders = ['data/pictures']": "watch.folders",
    "[watch]\nfolders = ['~nobody-of-this-name/x']": "watch.folders",
    '[watch]\nfolders = ["a\\u0000b"]': "watch.folders",
    "[watch]\nsettle_s = '1'": "watch.settle_s",
    "[watch]\nsettle_s = true": "watch.settle_s",
    "[watch]\nsettle_s = 0": "watch.settle_s",
    "[watch]\nsettle_s = -1.0": "watch.settle_s",
    "[watch]\nsettle_s = nan": "watch.settle_s",
    "[watch]\nsettle_s = inf": "watch.settle_s",
    "[watch]\nrescan_s = 0.5": "watch.rescan_s",
    "[watch]\nexclude = [1]": "watch.exclude",
    "[watch]\npolling = true": "watch.polling",
    "[watch]\npolling = 'sometimes'": "watch.polling",
    "[model]\nname = 3": "model.name",
    "[model.name]\nx = 1": "model.name",
    "[model]\npretrained = false": "model.pretrained",
    "[model]\nprecision = 'fp7'": "model.precision",
    "[model]\ndevice = 'tpu'": "model.device",
    "[model]\ndevice = 'cuda:'": "model.device",
    "[model]\nbatch_size = 0": "model.batch_size",
    "[model]\nbatch_size = 'large'": "model.batch_size",
    "[store]\ndir = 'images'": "store.dir",
    "[store]\ndir = 'images/inner'": "store.dir",
    "[store]\ndir = 5": "store.dir",
    "[index]\nspace = 'both'": "index.space",
    "[api]\nport = 0": "api.port",
    "[api]\nport = 65536": "api.port",
    "[api]\nport = '7860'": "api.port",
    "[api]\nport = 7860.0": "api.port",
    "[api]\nhost = 127": "api.host",
    "[api]\napi_key = 12345": "api.api_key",
    "[decode]\nworkers = 0": "decode.workers",
    "[decode]\nworkers = 5000": "decode.workers",
    "[decode]\nmode = 'fast'": "decode.mode",
    "[decode]\nmax_pixels = 0": "decode.max_pixels",
    "[decode]\nmax_file_bytes = 3_000_000_000": "decode.max_file_bytes",
    "[decode]\ntimeout_s = 0": "decode.timeout_s",
    "[log]\nlevel = 'INFO'": "log.level",
    "[log]\nlevel = 'loud'": "log.level",
    "[watch": "config.toml",
    "watch.settle_s 1": "config.toml",
}


@pytest.mark.parametrize(("text", "named"), BAD_FILES.items(), ids=range(len(BAD_FILES)))
def test_a_bad_file_is_one_line_that_names_the_key_and_creates_nothing(
    run: Run, tmp_path: Path, text: str, named: str
) -> None:
    (tmp_path / "config.toml").write_text(text)
    for verb in (["config", "validate"], ["serve"], ["status"]):
        outcome = run(*verb)
        assert outcome.code == 2
        assert outcome.out == ""
        (line,) = outcome.err.splitlines()
        assert line.startswith("error: ")
        assert named in line
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("arguments", "environ", "named"),
    [
        (["--set", "watch.settle=1"], {}, "watch.settle"),
        (["--set", "watch=1"], {}, "watch"),
        (["--set", "api.port=high"], {}, "api.port"),
        (["--config", "absent.toml"], {}, "absent.toml"),
        (["--config", "."], {}, "is not a file"),
        ([], {"INDEXER_CONFIG": "absent.toml"}, "absent.toml"),
        ([], {"INDEXER_API__PORT": "high"}, "api.port"),
        ([], {"INDEXER_API__PROT": "1"}, "api.prot"),
        ([], {"INDEXER_STORE__DIR": "images/x"}, "store.dir"),
    ],
)
def test_a_bad_flag_or_variable_is_one_line_that_names_the_key(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], environ: dict[str, str], named: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    outcome = run("config", "validate", *arguments)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert named in line
    assert list(tmp_path.iterdir()) == []
