"""Settings: one frozen `Config`, resolved once and passed down.

Precedence: flag > environment (`INDEXER_SECTION__KEY`) > file > default. Values from flags and the environment are read
as TOML values where they are valid ones (`0.5`, `true`, `["a", "b"]`), else as plain text. Relative paths are relative
to the folder of the configuration file, or to the working directory when there is no file.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from indexer.errors import ConfigError

ENV_PREFIX = "INDEXER_"
DEFAULT_FILE = "config.toml"


def _listed(value: object) -> object:
    """Plain text from a flag or the environment becomes a list, split as PATH is."""
    return value.split(os.pathsep) if isinstance(value, str) else value


TextList = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(strict=False)]
SECRETS = ("api_key", "admin_key")
"""Keys of the section `api` that nobody is shown. Each may be kept in a file of its own: `<key>_file`."""
DeviceName = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
AutoOrInt = Literal["auto"] | Annotated[int, Field(ge=1, le=4096)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Watch(_Section):
    """Which folders, and when a file counts as finished."""

    folders: TextList = ("images",)
    settle_s: float = Field(default=1.0, ge=0.05, le=3600)
    rescan_s: float = Field(default=300.0, ge=1, le=604_800)
    exclude: TextList = (
        ".*", "*.tmp", "*.part", "*.crdownload", "*~", "Thumbs.db", "desktop.ini", "@eaDir",
        "*.txt", "*.json", "*.xmp", "*.xml", "*.md",
    )  # fmt: skip
    polling: Literal["auto", "always", "never"] = "auto"


class Model(_Section):
    """Which encoder, and how it runs."""

    name: str = "ViT-H-14"
    pretrained: str = "laion2b_s32b_b79k"
    precision: Literal["auto", "fp32", "fp16", "bf16", "int8", "fp8"] = "auto"
    device: DeviceName | Annotated[tuple[DeviceName, ...], Field(strict=False, min_length=1, max_length=64)] = "auto"
    min_replicas: AutoOrInt = "auto"
    max_replicas: AutoOrInt = "auto"
    batch_size: AutoOrInt = "auto"
    compile: bool = True
    idle_release_s: float = Field(default=0.0, ge=0, le=604_800)
    gate_overlap: float = Field(default=0.95, ge=0, le=1)
    gate_cosine: float = Field(default=0.99, ge=-1, le=1)
    allow_ungated: bool = False

    @property
    def devices(self) -> tuple[str, ...]:
        """What `device` names, one or several."""
        return (self.device,) if isinstance(self.device, str) else self.device


class Store(_Section):
    """Where the program keeps what it knows, and how often it is looked through."""

    dir: str = "data"
    verify_every_h: float = Field(default=24.0, ge=0, le=8760)
    verify_sample: int = Field(default=32, ge=0, le=100_000)


class Index(_Section):
    """What is searched."""

    space: Literal["visual", "joint"] = "visual"
    kind: Literal["auto", "exact", "lists"] = "auto"
    recall: float = Field(default=0.98, gt=0.0, lt=1.0)


class Api(_Section):
    """Where the service listens."""

    host: str = "127.0.0.1"
    port: int = Field(default=7860, ge=1, le=65_535)
    api_key: str = Field(default="", repr=False)
    plain_webhooks: bool = False
    api_key_file: str = ""
    admin_key: str = Field(default="", repr=False)
    admin_key_file: str = ""
    allowed_hosts: TextList = ()
    cors_origins: TextList = ()
    rate_per_s: Literal["auto"] | Annotated[float, Field(ge=0, le=1e6)] = "auto"
    open_metrics: bool = False
    access_log: bool = False
    traces: bool = False


class Decode(_Section):
    """How bytes become pixels, and what is refused."""

    workers: AutoOrInt = "auto"
    mode: Literal["exact", "scaled"] = "exact"
    gpu_jpeg: bool = False
    max_pixels: int = Field(default=100_000_000, ge=1, le=2_000_000_000)
    max_file_bytes: int = Field(default=200_000_000, ge=1, le=2_000_000_000)
    timeout_s: float = Field(default=10.0, ge=0.1, le=600)


class Log(_Section):
    """What is told on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(_Section):
    """Every setting, validated; paths are absolute."""

    watch: Watch = Watch()
    model: Model = Model()
    store: Store = Store()
    index: Index = Index()
    api: Api = Api()
    decode: Decode = Decode()
    log: Log = Log()

    @property
    def folders(self) -> tuple[Path, ...]:
        """The watched folders, absolute, each once."""
        return tuple(Path(folder) for folder in dict.fromkeys(self.watch.folders))

    @property
    def store_dir(self) -> Path:
        return Path(self.store.dir)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where it came from.

    Attributes:
        config: The settings in force.
        file: The file that was read, if any.
        sources: `section.key` -> `flag`, `environment`, `file` or `default`.
    """

    config: Config
    file: Path | None
    sources: Mapping[str, str]


Layer = dict[str, dict[str, Any]]


def load(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> Loaded:
    """Read and validate the settings.

    Args:
        file: Configuration file; None means `INDEXER_CONFIG`, else `config.toml` in `cwd` if there is one.
        flags: `section.key` -> value; text is read as from the environment.
        environ: The environment.
        cwd: Working directory; None means the process's.

    Raises:
        ConfigError: One line per wrong key, each with its remedy.
    """
    cwd = cwd or Path.cwd()
    path = _find_file(file, environ, cwd)
    layers = {
        "default": {},
        "file": _from_file(path) if path else {},
        "environment": _from_environment(environ),
        "flag": _from_flags(flags or {}),
    }
    merged, sources = _merge(layers)
    try:
        config = Config.model_validate(merged)
    except ValidationError as e:
        lines = dict.fromkeys(_explain(dict(error), sources, path) for error in e.errors())
        raise ConfigError("\n".join(lines)) from None
    config = _resolve_paths(config, path.parent if path else cwd)
    _check_folders(config)
    _check_replicas(config.model)
    return Loaded(config, path, sources)


def keys() -> Iterable[tuple[str, str, Any]]:
    """Every (section, key, default)."""
    for section, field in Config.model_fields.items():
        for key, value in field.default:
            yield section, key, value


def _find_file(file: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    named = file or (Path(environ["INDEXER_CONFIG"]) if environ.get("INDEXER_CONFIG") else None)
    if named is None:
        default = cwd / DEFAULT_FILE
        return default if default.is_file() else None
    named = (cwd / named.expanduser()).absolute()
    if not named.is_file():
        raise ConfigError(f"--config: {named} is not a file; name an existing one, or leave it out to use the defaults")
    return named


def _from_file(path: Path) -> Layer:
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{path.name}: not valid TOML: {e}; mend that line") from None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}; check the file and its permissions") from e


def _from_environment(environ: Mapping[str, str]) -> Layer:
    layer: Layer = {}
    for name, text in environ.items():
        section, separator, key = name.removeprefix(ENV_PREFIX).lower().partition("__")
        if name.startswith(ENV_PREFIX) and separator:
            layer.setdefault(section, {})[key] = _value(section, key, text)
    return layer


def _from_flags(flags: Mapping[str, Any]) -> Layer:
    layer: Layer = {}
    for dotted, value in flags.items():
        section, separator, key = dotted.partition(".")
        if not (section and separator and key):
            raise ConfigError(f"{dotted}: not a setting; write it as section.key=value, such as watch.settle_s=2")
        layer.setdefault(section, {})[key] = _value(section, key, value) if isinstance(value, str) else value
    return layer


def _value(section: str, key: str, text: str) -> Any:
    """A TOML value where the text is one, else the text itself; so is the number `2024` that names a folder."""
    try:
        value = tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        return text
    takes_text = _annotation(section, key) in (str, tuple[str, ...])
    return text if takes_text and not isinstance(value, str | list) else value


def _merge(layers: Mapping[str, Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    merged: dict[str, Any] = {}
    sources = {f"{section}.{key}": "default" for section, key, _ in keys()}
    for source, layer in layers.items():
        for section, values in layer.items():
            if not isinstance(values, dict):
                merged[section] = values
                continue
            target = merged.setdefault(section, {})
            for key, value in values.items():
                if isinstance(target, dict):  # else the file holds a value where the section should be
                    target[key] = value
                sources[f"{section}.{key}"] = source
    return merged, sources


def _explain(error: dict[str, Any], sources: Mapping[str, str], path: Path | None) -> str:
    """One line for one of pydantic's errors: where it was set, its key, what is wrong, what to do."""
    location = [str(part) for part in error["loc"] if isinstance(part, str)][:2]
    dotted = ".".join(location)
    # An unknown section is known by its keys only.
    source = sources.get(dotted) or next((s for key, s in sources.items() if key.startswith(f"{dotted}.")), "file")
    origin = {"file": path.name if path else "file", "flag": "flag"}.get(source, source)
    if error["type"] == "extra_forbidden":
        return f"{origin}: {dotted}: unknown key; {_suggest(location)}"
    if len(location) == 1:
        origin = path.name if path else "file"
        return f"{origin}: {dotted}: this is a section, write it as [{dotted}]"
    default = {f"{s}.{k}": v for s, k, v in keys()}[dotted]
    shown = "(hidden)" if location[0] == "api" and location[-1] in SECRETS else repr(error["input"])
    problem = _allowed(location) or error["msg"][0].lower() + error["msg"][1:]
    return f"{origin}: {dotted}: {shown} cannot be used: {problem} (default: {default!r})"


def _allowed(location: list[str]) -> str | None:
    """What a choice-like setting accepts; pydantic's own words serve for the rest."""
    annotation = _annotation(*location)
    if annotation == AutoOrInt:
        return "write 'auto' or a whole number from 1 to 4096"
    if location == ["api", "rate_per_s"]:
        return "write 'auto' or a number from 0 to 1000000"
    if location == ["model", "device"]:
        return "write auto, cpu, cuda, cuda:N, or a list such as ['cuda:0', 'cuda:1']"
    choices = [choice for choice in get_args(annotation) if isinstance(choice, str)]
    return f"choose one of {', '.join(choices)}" if choices else None


def _annotation(section: str, key: str) -> Any:
    """The declared type of a setting; None if there is no such setting."""
    fields = type(Config.model_fields[section].default).model_fields if section in Config.model_fields else {}
    return fields[key].annotation if key in fields else None


def _suggest(location: list[str]) -> str:
    known = list(Config.model_fields) if len(location) == 1 else [k for s, k, _ in keys() if s == location[0]]
    near = difflib.get_close_matches(location[-1], known, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"


def _resolve_paths(config: Config, base: Path) -> Config:
    def absolute(key: str, text: str) -> str:
        try:
            return str((base / Path(text).expanduser()).resolve())
        except (OSError, RuntimeError, ValueError) as e:  # a link loop, an unknown ~user, a NUL
            raise ConfigError(f"{key}: {text!r} cannot be a path: {e}; write another") from e

    folders = tuple(absolute("watch.folders", folder) for folder in config.watch.folders)
    watch = config.watch.model_copy(update={"folders": folders})
    store = config.store.model_copy(update={"dir": absolute("store.dir", config.store.dir)})
    model = config.model
    if "/" in model.pretrained:  # a path: no tag of weights has one
        model = model.model_copy(update={"pretrained": absolute("model.pretrained", model.pretrained)})
    files = {f"{key}_file": getattr(config.api, f"{key}_file") for key in SECRETS}
    named = {key: absolute(f"api.{key}", file) for key, file in files.items() if file}
    api = config.api.model_copy(update=named)
    return config.model_copy(update={"watch": watch, "model": model, "store": store, "api": api})


def _check_replicas(model: Model) -> None:
    least, most = model.min_replicas, model.max_replicas
    if least != "auto" and most != "auto" and least > most:
        raise ConfigError(f"model.min_replicas: {least} is more than model.max_replicas = {most}; make it less")


def _check_folders(config: Config) -> None:
    if not config.folders:
        raise ConfigError("watch.folders: no folder is named; name at least one")
    for folder in config.folders:
        if config.store_dir.is_relative_to(folder):
            raise ConfigError(
                f"store.dir: {config.store_dir} lies inside the watched folder {folder}; move one of them elsewhere"
            )
        if folder.is_relative_to(config.store_dir):
            raise ConfigError(
                f"watch.folders: {folder} lies inside the store {config.store_dir}; move one of them elsewhere"
            )
        outer = next((other for other in config.folders if other != folder and folder.is_relative_to(other)), None)
        if outer:
            raise ConfigError(f"watch.folders: {folder} lies inside {outer}, also named; name only the outer one")
