from __future__ import annotations

import json
import pickle
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from indexer.encoder.checkpoint import Untrained, resolve
from indexer.encoder.hub import HubFile
from indexer.encoder.openclip import OpenClipEncoder
from indexer.errors import CheckpointMismatch, ConfigError
from tests.encoder.conftest import CONFIGS, pictures

Saved = Callable[[str], Path]


def opened(name: str, pretrained: Path | str) -> OpenClipEncoder:
    return OpenClipEncoder(resolve(name, str(pretrained)), device="cpu", precision="fp32")


def test_the_default_model_is_found_on_the_hub_as_safetensors() -> None:
    checkpoint = resolve("ViT-H-14", "laion2b_s32b_b79k")
    assert checkpoint.source == HubFile("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "open_clip_model.safetensors")
    assert checkpoint.config["vision_cfg"]["width"] == 1280
    assert checkpoint.config["embed_dim"] == 1024


def test_a_tag_that_names_its_pickled_file_asks_for_its_safetensors_twin() -> None:
    source = resolve("ViTamin-S", "datacomp1b").source
    assert source == HubFile("jienengchen/ViTamin-S", "pytorch_model.safetensors")


def test_preprocessing_is_known_without_the_weights() -> None:
    preprocess = resolve("ViT-H-14", "laion2b_s32b_b79k", "scaled").preprocess
    assert (preprocess.side_px, preprocess.mode) == (224, "scaled")
    assert preprocess.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert preprocess.std == pytest.approx((0.26862954, 0.26130258, 0.27577711))
    assert (preprocess.interpolation, preprocess.resize) == ("bicubic", "shortest")


def test_preprocessing_is_that_of_the_weights() -> None:
    assert resolve("ViT-H-14", "dfn5b").preprocess.resize == "squash"
    assert resolve("ViT-B-16-SigLIP", "webli").preprocess.mean == (0.5, 0.5, 0.5)


def test_a_file_is_prepared_for_as_all_published_weights_of_its_architecture(saved: Saved) -> None:
    path = str(saved("tiny"))
    assert resolve("ViT-B-16-SigLIP", path).preprocess.mean == (0.5, 0.5, 0.5)
    # Those of ViT-H-14 disagree on the fitting, so the usual one is taken.
    assert resolve("ViT-H-14", path).preprocess.resize == "shortest"


def test_weights_trained_with_quick_gelu_run_with_it() -> None:
    assert resolve("ViT-B-32", "openai").config["quick_gelu"] is True
    assert "quick_gelu" not in resolve("ViT-B-32", "laion2b_s34b_b79k").config


def test_the_demo_model_is_itself_whatever_the_weights_are_said_to_be() -> None:
    checkpoint = resolve("demo", "laion2b_s32b_b79k")
    assert checkpoint.model == "lookalike-demo"
    assert isinstance(checkpoint.source, Path)
    assert checkpoint.source.is_file()


@pytest.mark.parametrize(("told", "seed"), [("random", 0), ("random:7", 7)])
def test_random_weights_have_a_seed(told: str, seed: int) -> None:
    assert resolve("tiny", told).source == Untrained(seed)


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-H14", "laion2b_s32b_b79k", r'^model\.name: .*"ViT-H14"; did you mean .*ViT-H-14'),
        ("vit-h-14", "laion2b_s32b_b79k", r"^model\.name: .*did you mean ViT-H-14"),
        ("dmo", "", r"^model\.name: .*demo"),
        ("zzzzzzzz", "", r'^model\.name: open_clip has no architecture "zzzzzzzz"$'),
        ("ViT-H-14", "laion2b", r"^model\.pretrained: .*did you mean laion2b_s32b_b79k"),
        ("ViT-H-14", "", r"^model\.pretrained: .*laion2b_s32b_b79k"),
        ("ViT-H-14", "/nowhere/to/be/found.safetensors", r"^model\.pretrained: no file or folder"),
        ("ViT-H-14", "missing.safetensors", r"^model\.pretrained: no file or folder"),
        ("tiny", "random:x", r"^model\.pretrained: .*random:42"),
    ],
)
def test_what_is_not_known_is_told_with_what_was_perhaps_meant(name: str, pretrained: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(name, pretrained)


def test_a_folder_tells_its_own_architecture_and_preprocessing(saved: Saved, tmp_path: Path) -> None:
    told = {"model_cfg": CONFIGS["tiny"], "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3, "fill_color": 9}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(told))
    (tmp_path / "open_clip_model.safetensors").write_bytes(saved("tiny").read_bytes())
    for given in (tmp_path, tmp_path / "open_clip_model.safetensors"):
        checkpoint = resolve("ViT-H-14", str(given))
        assert checkpoint.config == CONFIGS["tiny"]
        assert (checkpoint.preprocess.mean, checkpoint.preprocess.fill) == ((0.5, 0.5, 0.5), 9)
        assert checkpoint.model == tmp_path.name  # certainly no ViT-H-14
    assert opened("my-own", tmp_path).space.model == "my-own"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_cfg": {"embed_dim": 3}}'])
def test_a_folder_that_describes_no_model_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(content)
    (tmp_path / "open_clip_model.safetensors").touch()
    with pytest.raises(ConfigError, match=r"^model\.pretrained: .*open_clip_config\.json"):
        resolve("ViT-H-14", str(tmp_path))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"open_clip_model\.safetensors"):
        resolve("tiny", str(tmp_path))


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize("name", ["evil.pt", "evil.bin", "plain-pickle.pth", "state.ckpt"])
def test_a_pickled_file_is_refused_unread_with_what_makes_it_safe(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.startswith("plain"):
        path.write_bytes(pickle.dumps(Trap()))
    else:
        torch.save({"weight": torch.zeros(2), "trap": Trap()}, path)
    with pytest.raises(ConfigError, match="pickled") as told:
        opened("tiny", path)
    assert str(path.with_suffix(".safetensors")) in str(told.value)


def test_a_pickle_by_another_name_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2), "trap": Trap()}, tmp_path / "evil.safetensors")
    with pytest.raises(CheckpointMismatch, match="cannot be read"):
        opened("tiny", tmp_path / "evil.safetensors")


def test_what_the_advice_makes_of_a_pickled_file_is_the_same_model(saved: Saved, tmp_path: Path) -> None:
    pickled, safe = tmp_path / "tiny.pt", tmp_path / "tiny.safetensors"
    state = {f"module.{name}": tensor for name, tensor in load_file(saved("tiny")).items()}
    torch.save({"epoch": 3, "state_dict": state}, pickled)  # as open_clip's training writes it
    with pytest.raises(ConfigError) as told:
        opened("tiny", pickled)
    command = str(told.value).splitlines()[-1]
    exec(shlex.split(command)[2])
    rows = opened("tiny", safe).encode_pixels(pictures(2))
    assert np.array_equal(rows, opened("tiny", saved("tiny")).encode_pixels(pictures(2)))


@pytest.mark.parametrize("keep", [0, 7, 100, 1_000_000, -1])
def test_a_file_cut_short_is_refused(keep: int, saved: Saved, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(saved("tiny").read_bytes()[:keep])
    with pytest.raises(CheckpointMismatch, match=r"cut\.safetensors"):
        opened("tiny", cut)


def test_the_first_wrong_tensors_are_named(saved: Saved, tmp_path: Path) -> None:
    tensors = load_file(saved("tiny"))
    tensors["visual.conv1.surprise"] = torch.zeros(1)
    del tensors["visual.ln_pre.bias"]
    save_file(tensors, tmp_path / "wrong.safetensors")
    with pytest.raises(CheckpointMismatch) as wrong:
        opened("tiny", tmp_path / "wrong.safetensors")
    assert "missing: visual.ln_pre.bias" in str(wrong.value)
    assert "unknown: visual.conv1.surprise" in str(wrong.value)


def test_a_whole_list_of_wrong_tensors_is_cut_short(saved: Saved) -> None:
    with pytest.raises(CheckpointMismatch, match=r"missing: .* and \d+ more") as wrong:
        opened("ViT-B-32", saved("tiny"))
    assert len(str(wrong.value)) < 1000


def test_an_architecture_of_another_library_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\.name"):
        opened("xlm-roberta-base-ViT-B-32", "random")
