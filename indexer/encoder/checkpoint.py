"""Which model the configuration means: its architecture, its preprocessing, and where its weights come from."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import open_clip
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

from indexer.encoder.hub import HubFile, how_to_convert
from indexer.encoder.weights import SAFE_SUFFIX, TORCH_SUFFIXES
from indexer.errors import ConfigError
from indexer.types import Preprocess

DEMO: Final = "demo"
"""`model.name` that selects the small model shipped with the program, whatever `model.pretrained` says."""

_DEMO_FILE: Final = Path(__file__).parent / "demo_model" / f"lookalike-demo{SAFE_SUFFIX}"
_FOLDER_CONFIG: Final = "open_clip_config.json"
_FOLDER_WEIGHTS: Final = (HF_SAFE_WEIGHTS_NAME, "model.safetensors")

Mode: TypeAlias = Literal["exact", "scaled"]


@dataclass(frozen=True, slots=True)
class Untrained:
    """Weights drawn at random: as fast as trained ones, and meaningless."""

    seed: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that can be opened.

    Attributes:
        model: Name of the architecture, for people and for the fingerprint.
        pretrained: The weights, as people named them.
        config: Arguments of open_clip's model class.
        preprocess: How its pictures are prepared.
        source: Where the weights are.
        tokenizer: Name or folder of a Hugging Face tokenizer; empty for CLIP's own.
    """

    model: str
    pretrained: str
    config: Mapping[str, Any]
    preprocess: Preprocess
    source: Path | HubFile | Untrained
    tokenizer: str = ""


def resolve(name: str, pretrained: str, mode: Mode = "exact") -> Checkpoint:
    """Find out what is meant, from open_clip's registry and local files alone: no network, no weights read.

    Args:
        name: An architecture of open_clip's registry, or `demo`.
        pretrained: A tag of the registry; a safetensors file, in open_clip's or Hugging Face's naming; a folder with
            `open_clip_config.json` and such a file; or `random` or `random:SEED` for untrained weights. A folder is
            told from a tag by a / in its path; paths may be relative to the working directory.
        mode: Carried into `Checkpoint.preprocess`.

    Raises:
        ConfigError: No such architecture, tag, file or folder.
    """
    if name == DEMO:
        return _from_files(_DEMO_FILE.stem, DEMO, _DEMO_FILE, _DEMO_FILE.with_suffix(".json"), mode)
    if pretrained.partition(":")[0] == "random":
        return _untrained(name, pretrained, mode)
    if _means_path(pretrained):
        return _from_path(name, pretrained, mode)
    return _from_tag(name, pretrained, mode)


def _untrained(name: str, pretrained: str, mode: Mode) -> Checkpoint:
    seed = pretrained.partition(":")[2] or "0"
    if not seed.isdecimal():
        raise ConfigError(f'model.pretrained: "{pretrained}" has no whole number as seed; write "random:42"')
    config = _registered(name)
    preprocess = _preprocess(config, _usual_preprocess(name), mode)
    return Checkpoint(name, pretrained, config, preprocess, Untrained(int(seed)), _tokenizer(config))


def _from_tag(name: str, tag: str, mode: Mode) -> Checkpoint:
    config = _registered(name)
    entry = get_pretrained_cfg(name, tag)
    if not entry:
        known = list_pretrained_tags_by_model(name)
        raise ConfigError(
            f'model.pretrained: open_clip has no weights "{tag}" for {name}{_near(tag, known)}; '
            f"it has {', '.join(known) or 'none'} (a path is told by a / in it)"
        )
    if entry.get("quick_gelu"):
        # The registry lists some weights under an architecture with the other activation; the weights know best.
        config["quick_gelu"] = True
    repo, _, file = entry["hf_hub"].rpartition("/")
    source = HubFile(repo, Path(file or HF_SAFE_WEIGHTS_NAME).with_suffix(SAFE_SUFFIX).name)
    return Checkpoint(name, tag, config, _preprocess(config, entry, mode), source, _tokenizer(config))


def _from_path(name: str, pretrained: str, mode: Mode) -> Checkpoint:
    path = Path(pretrained).expanduser()
    if path.is_dir():
        inside = [path / file for file in _FOLDER_WEIGHTS if (path / file).is_file()]
        if not inside:
            raise ConfigError(f"model.pretrained: the folder {path} holds none of {', '.join(_FOLDER_WEIGHTS)}")
        path = inside[0]
    elif not path.is_file():
        raise ConfigError(f"model.pretrained: no file or folder is at {path.absolute()}")
    if path.suffix in TORCH_SUFFIXES:
        safe = str(path.with_suffix(SAFE_SUFFIX))
        raise ConfigError(
            f"model.pretrained: {path} is pickled, and nothing is unpickled here; "
            f"{how_to_convert(name, str(path), safe)}"
        )
    beside = path.with_name(_FOLDER_CONFIG)
    if beside.is_file():
        return _from_files(name, pretrained, path, beside, mode)
    config = _registered(name)
    activation = _hugging_face_activation(path)
    if activation is not None:
        config["quick_gelu"] = activation == "quick_gelu"
    preprocess = _preprocess(config, _usual_preprocess(name), mode)
    return Checkpoint(name, pretrained, config, preprocess, path, _tokenizer(config))


def _from_files(name: str, pretrained: str, path: Path, config_path: Path, mode: Mode) -> Checkpoint:
    """A model told by a file of its own: in the form of `open_clip_config.json`, or of the `model_cfg` in it."""
    try:
        told = json.loads(config_path.read_bytes())
        config = told.get("model_cfg", told)
        preprocess = _preprocess(config, told.get("preprocess_cfg", {}), mode)
        tokenizer = str(path.parent) if "hf_tokenizer_name" in config["text_cfg"] else ""
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"model.pretrained: {config_path} does not describe an open_clip model ({error})") from error
    # The folder speaks for itself: a name left in the settings for another model would mislead people.
    is_other = name in open_clip.list_models() and open_clip.get_model_config(name) != config
    model = path.parent.name if is_other else name
    return Checkpoint(model, pretrained, config, preprocess, path, tokenizer)


def _registered(name: str) -> dict[str, Any]:
    config: dict[str, Any] | None = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        known = [*open_clip.list_models(), DEMO]
        raise ConfigError(f'model.name: open_clip has no architecture "{name}"{_near(name, known)}')
    return config


def _tokenizer(config: Mapping[str, Any]) -> str:
    name: str = config["text_cfg"].get("hf_tokenizer_name", "")
    return name


def _means_path(pretrained: str) -> bool:
    return "/" in pretrained or pretrained.endswith((SAFE_SUFFIX, *TORCH_SUFFIXES))


def _hugging_face_activation(path: Path) -> str | None:
    """The activation told by a `config.json` of Hugging Face's CLIP beside the weights, which do not tell it."""
    try:
        config = json.loads(path.with_name("config.json").read_bytes())
        if not config["model_type"].startswith("clip"):
            return None
        activation: str = config.get("vision_config", config).get("hidden_act", "quick_gelu")
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None
    if activation not in ("gelu", "quick_gelu"):
        raise ConfigError(f"model.pretrained: {path} needs the activation {activation}, which open_clip has not")
    return activation


def _usual_preprocess(name: str) -> dict[str, Any]:
    """What all published weights of an architecture agree upon."""
    entries = [get_pretrained_cfg(name, tag) for tag in list_pretrained_tags_by_model(name)]
    fields = ("mean", "std", "interpolation", "resize_mode")
    values = {field: {entry.get(field) for entry in entries} for field in fields}
    return {field: found.pop() for field, found in values.items() if len(found) == 1}


def _preprocess(config: Mapping[str, Any], told: Mapping[str, Any], mode: Mode) -> Preprocess:
    side = config["vision_cfg"].get("image_size", 224)
    if isinstance(side, (list, tuple)):
        if len(set(side)) != 1:
            raise ConfigError(f"model.name: pictures of {side} pixels are not square, which is not supported")
        side = side[0]
    return Preprocess(
        side_px=side,
        mean=tuple(told.get("mean") or OPENAI_DATASET_MEAN),
        std=tuple(told.get("std") or OPENAI_DATASET_STD),
        interpolation=told.get("interpolation") or "bicubic",
        resize=told.get("resize_mode") or "shortest",
        fill=told.get("fill_color") or 0,
        mode=mode,
    )


def _near(word: str, known: Iterable[str]) -> str:
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(by_lower[match] for match in matches)}?" if matches else ""
