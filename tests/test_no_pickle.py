"""Nothing that comes from outside is ever unpickled, run or believed: a scan of every module that is shipped."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import indexer
import search_api

MODULES = sorted(path for package in (indexer, search_api) for path in Path(str(package.__file__)).parent.rglob("*.py"))
DANGEROUS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__"}


def faults_of(source: str) -> Iterator[str]:
    """What in a module could run what a file or a stranger says."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            for each in {full.partition(".")[0] for full in names} & DANGEROUS:
                yield f"imports {each}"
            if names == ["torch"] and {"load", "jit", "hub"} & {each.name for each in node.names}:
                yield "imports what torch unpickles with"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.jit.load", "torch.hub"):
            yield f"uses {ast.unparse(node)}"
        elif isinstance(node, ast.Call):
            yield from _faults_of_call(node)


def _faults_of_call(node: ast.Call) -> Iterator[str]:
    said = {each.arg: ast.unparse(each.value) for each in node.keywords}
    called = ast.unparse(node.func)
    if said.get("allow_pickle", "False") != "False" or "weights_only" in said:
        yield f"lets {called} unpickle"
    if called in CALLS:
        yield f"calls {called}"
    if called == "os.system" or said.get("shell") == "True":
        yield f"calls {called}"


def test_there_is_something_to_scan() -> None:
    assert len(MODULES) > 150


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_is_unpickled_or_run(path: Path) -> None:
    assert list(faults_of(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, pickle",
        "from pickle import loads",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=True)",
        "import torch\nread = torch.load",
        "from torch import load",
        "torch.hub.load(name)",
        "open_clip.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_scan_finds_it(source: str) -> None:
    assert list(faults_of(source))
