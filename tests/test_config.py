"""Settings: where each may come from, and what is said of those that cannot be used."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from indexer.config import Config, Loaded, keys, load
from indexer.errors import ConfigError

SHIPPED = Path(__file__).parents[1] / "config.toml"


def load_in(
    folder: Path, text: str | None = None, *, environ: dict[str, str] | None = None, flags: dict[str, Any] | None = None
) -> Loaded:
    """Load as if started in `folder`, whose config.toml is `text`."""
    if text is not None:
        (folder / "config.toml").write_text(text)
    return load(flags=flags, environ=environ or {}, cwd=folder)


# ---------------------------------------------------------------- precedence


def test_without_any_source_every_setting_is_the_default(tmp_path: Path) -> None:
    loaded = load_in(tmp_path)
    assert loaded.file is None
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.config.watch.settle_s == 1.0
    assert loaded.config.folders == (tmp_path / "images",)
    assert loaded.config.store_dir == tmp_path / "data"


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    text = "[watch]\nsettle_s = 2\nrescan_s = 20\n[api]\nport = 1002\n"
    environ = {"INDEXER_WATCH__SETTLE_S": "3", "INDEXER_WATCH__RESCAN_S": "30"}
    loaded = load_in(tmp_path, text, environ=environ, flags={"watch.settle_s": "4"})
    assert loaded.config.watch.settle_s == 4
    assert loaded.config.watch.rescan_s == 30
    assert loaded.config.api.port == 1002
    assert loaded.config.api.host == "127.0.0.1"
    chosen = {key: loaded.sources[key] for key in ("watch.settle_s", "watch.rescan_s", "api.port", "api.host")}
    assert chosen == {
        "watch.settle_s": "flag",
        "watch.rescan_s": "environment",
        "api.port": "file",
        "api.host": "default",
    }


def test_every_setting_has_a_source(tmp_path: Path) -> None:
    assert set(load_in(tmp_path).sources) == {f"{section}.{key}" for section, key, _ in keys()}


def test_a_setting_of_one_section_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    assert load_in(tmp_path, "[watch]\nsettle_s = 2\n").config.watch.rescan_s == 300


# ---------------------------------------------------------------- the file


def test_the_named_file_wins_over_the_environments_and_over_the_one_in_the_working_directory(tmp_path: Path) -> None:
    for name, port in (("config.toml", 1001), ("environment.toml", 1002), ("named.toml", 1003)):
        (tmp_path / name).write_text(f"[api]\nport = {port}\n")
    environ = {"INDEXER_CONFIG": "environment.toml"}
    assert load(environ={}, cwd=tmp_path).config.api.port == 1001
    assert load(environ=environ, cwd=tmp_path).config.api.port == 1002
    assert load(Path("named.toml"), environ=environ, cwd=tmp_path).config.api.port == 1003


def test_relative_paths_are_relative_to_the_files_folder(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "settings.toml").write_text('[watch]\nfolders = ["photos", "/absolute"]\n[store]\ndir = "../kept"\n')
    config = load(inner / "settings.toml", environ={}, cwd=tmp_path).config
    assert config.folders == (inner / "photos", Path("/absolute"))
    assert config.store_dir == tmp_path / "kept"


def test_loading_creates_nothing(tmp_path: Path) -> None:
    load_in(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml is not a file"):
        load(Path("absent.toml"), environ={}, cwd=tmp_path)


def test_a_file_that_is_not_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load(environ={}, cwd=tmp_path)


# ---------------------------------------------------------------- flags and the environment


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("watch.settle_s", "0.5", 0.5),
        ("watch.settle_s", "2", 2.0),
        ("decode.workers", "4", 4),
        ("decode.workers", "auto", "auto"),
        ("decode.workers", '"auto"', "auto"),
        ("model.name", "demo", "demo"),
        ("model.name", "2024", "2024"),
        ("api.api_key", "12345", "12345"),
        ("api.api_key", "true", "true"),
        ("api.api_key", "2024-01-01", "2024-01-01"),
        ("api.api_key", '"quoted"', "quoted"),
        ("model.pretrained", "a = b", "a = b"),
    ],
)
def test_text_from_flag_or_environment_becomes_what_the_setting_takes(
    tmp_path: Path, name: str, text: str, value: object
) -> None:
    section, key = name.split(".")
    for loaded in (
        load_in(tmp_path, flags={name: text}),
        load_in(tmp_path, environ={f"INDEXER_{section}__{key}".upper(): text}),
    ):
        found = getattr(getattr(loaded.config, section), key)
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize("text", ["one:two", '["one", "two"]'])
def test_a_list_is_written_as_toml_or_as_path_is(tmp_path: Path, text: str) -> None:
    folders = load_in(tmp_path, environ={"INDEXER_WATCH__FOLDERS": text}).config.folders
    assert folders == (tmp_path / "one", tmp_path / "two")


def test_a_folder_named_as_a_number_is_a_folder(tmp_path: Path) -> None:
    assert load_in(tmp_path, environ={"INDEXER_WATCH__FOLDERS": "2024"}).config.folders == (tmp_path / "2024",)


def test_other_variables_of_the_environment_are_left_alone(tmp_path: Path) -> None:
    environ = {"INDEXER_HOME": "x", "OTHER_WATCH__SETTLE_S": "9", "PATH": "/bin"}
    assert set(load_in(tmp_path, environ=environ).sources.values()) == {"default"}


@given(st.sampled_from([f"{section}.{key}" for section, key, _ in keys()]), st.text())
def test_any_text_for_a_setting_loads_or_is_an_error_that_names_it(key: str, text: str) -> None:
    try:
        load(flags={key: text}, environ={}, cwd=Path("/nowhere"))
    except ConfigError as e:
        # Folders and store are held against each other: either may be the one to move.
        assert key in str(e) or {key, str(e).partition(":")[0]} <= {"watch.folders", "store.dir"}


# ---------------------------------------------------------------- what cannot be used


def test_an_error_names_where_it_was_set_its_key_and_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_in(tmp_path, '[model]\nprecision = "fp7"\n')
    assert str(caught.value) == (
        "config.toml: model.precision: 'fp7' cannot be used: choose one of auto, fp32, fp16, bf16, int8, fp8 "
        "(default: 'auto')"
    )


def test_every_wrong_key_has_its_own_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_in(
            tmp_path,
            "[watch]\nsettle_s = 'x'\n",
            environ={"INDEXER_API__PORT": "0"},
            flags={"decode.mode": "wild"},
        )
    lines = str(caught.value).splitlines()
    assert [line.split(":")[:2] for line in lines] == [
        ["config.toml", " watch.settle_s"],
        ["environment", " api.port"],
        ["flag", " decode.mode"],
    ]


@pytest.mark.parametrize(
    ("flags", "environ", "origin"),
    [({"wach.settle_s": "1"}, {}, "flag"), ({}, {"INDEXER_WACH__SETTLE_S": "1"}, "environment")],
)
def test_an_unknown_section_is_told_with_its_origin_and_the_nearest_known_one(
    tmp_path: Path, flags: dict[str, str], environ: dict[str, str], origin: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^{origin}: wach: unknown key; did you mean watch\?$"):
        load_in(tmp_path, flags=flags, environ=environ)


def test_the_api_key_is_never_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_in(tmp_path, "[api]\napi_key = 987654321\n")
    assert "987654321" not in str(caught.value)
    assert "swordfish" not in repr(load_in(tmp_path, "", flags={"api.api_key": "swordfish"}).config)


def test_a_value_where_a_section_should_be_is_an_error_whatever_else_is_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^config\.toml: watch: .*\[watch\]$"):
        load_in(tmp_path, "watch = 3\n", environ={"INDEXER_WATCH__SETTLE_S": "2"})


@pytest.mark.parametrize(
    ("folders", "store", "named"),
    [
        (["pictures"], "pictures", "store.dir"),
        (["pictures"], "pictures/inner/data", "store.dir"),
        (["data/pictures"], "data", "watch.folders"),
        (["."], "data", "store.dir"),
        (["b/.."], "elsewhere/data", "store.dir"),
        (["a", "a/b"], "data", "watch.folders"),
        ([], "data", "watch.folders"),
    ],
)
def test_store_and_watched_folders_must_lie_apart(tmp_path: Path, folders: list[str], store: str, named: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(named)}: "):
        load_in(tmp_path, flags={"watch.folders": folders, "store.dir": store})


def test_a_store_that_a_link_leads_into_a_watched_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    with pytest.raises(ConfigError, match=r"^store\.dir: "):
        load_in(tmp_path, flags={"watch.folders": "pictures", "store.dir": "link/data"})


def test_a_folder_that_only_begins_alike_is_no_parent(tmp_path: Path) -> None:
    config = load_in(tmp_path, flags={"watch.folders": ["pictures", "pictures-2"], "store.dir": "pictures-data"}).config
    assert len(config.folders) == 2


def test_a_folder_named_twice_is_watched_once(tmp_path: Path) -> None:
    assert load_in(tmp_path, flags={"watch.folders": "a:./a:b"}).config.folders == (tmp_path / "a", tmp_path / "b")


def test_settings_cannot_be_changed_once_loaded(tmp_path: Path) -> None:
    config = load_in(tmp_path).config
    with pytest.raises(ValidationError):
        config.watch.settle_s = 5  # type: ignore[misc]


# ---------------------------------------------------------------- the file that is shipped


def test_the_shipped_file_holds_every_key_at_its_default() -> None:
    written = tomllib.loads(SHIPPED.read_text())
    assert Config.model_validate(written) == Config()
    assert {(s, k) for s, values in written.items() for k in values} == {(s, k) for s, k, _ in keys()}


def test_the_shipped_file_comments_every_key() -> None:
    commented = False
    for line in SHIPPED.read_text().splitlines():
        if re.match(r"\w+ = ", line):
            assert commented, f"no comment above: {line}"
        commented = line.startswith("#")


def test_the_shipped_file_states_the_unit_and_the_range_of_every_number() -> None:
    lines = SHIPPED.read_text().splitlines()
    for section, key, _ in keys():
        info = type(getattr(Config(), section)).model_fields[key]
        limits = {type(m).__name__: m for m in info.metadata}
        if info.annotation in (int, float) and "Le" in limits:
            at = next(i for i, line in enumerate(lines) if line.startswith(f"{key} = "))
            top = limits["Le"].le
            assert f"{top:g}" in lines[at - 1] or str(top) in lines[at - 1], f"{section}.{key}: {lines[at - 1]}"
            assert re.search(r"Seconds|Hours|Pixels|Bytes|Images|port|Share|Cosine", lines[at - 1])
