"""A compiled tower is taken when it is the same and faster, and never stands in the way."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from indexer.encoder.compiled import LEAST_GAIN, compiled

SIZES = (4, 6, 8)


class Doubling(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return torch.cat([pixels.float() + 1, pixels.float() * 2], dim=-1)


class Backend:
    """Hands the traced graph back, with a fault if one is wanted, and counts."""

    def __init__(self, fault: Callable[[Tensor], Tensor] = lambda features: features) -> None:
        self.threads: list[int] = []
        self._fault = fault

    def __call__(self, graph: Any, inputs: list[Any]) -> Callable[..., Any]:
        self.threads.append(threading.get_ident())
        return lambda *args: tuple(map(self._fault, graph(*args)))


def ticks(plain_s: float, fast_s: float) -> Callable[[], float]:
    """A clock by which the plain tower and the compiled one take so long, in turn."""

    def times() -> Iterator[float]:
        now = 0.0
        for seconds in itertools.cycle((plain_s, fast_s)):
            yield now
            now += seconds
            yield now

    return times().__next__


def batch(n: int) -> Tensor:
    return torch.arange(n * 5, dtype=torch.uint8).view(n, 5)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    torch.compiler.reset()


def attempt(backend: Backend, plain_s: float, fast_s: float) -> Callable[[Tensor], Tensor] | None:
    return compiled(Doubling(), SIZES, batch, lambda: None, backend=backend, clock=ticks(plain_s, fast_s))


def test_a_faster_one_is_taken() -> None:
    backend = Backend()
    faster = attempt(backend, plain_s=2.0, fast_s=1.0)
    assert faster is not None
    n_compiled = len(backend.threads)
    assert n_compiled > 0
    for n in SIZES:
        assert torch.equal(faster(batch(n)), Doubling()(batch(n)))
    assert len(backend.threads) == n_compiled, "every size that was told was compiled beforehand"


@pytest.mark.parametrize("gain", [0.5, 1.0, LEAST_GAIN - 0.001])
def test_one_that_is_hardly_faster_is_not(gain: float) -> None:
    assert attempt(Backend(), plain_s=gain, fast_s=1.0) is None


@pytest.mark.parametrize("fault", [lambda features: features.roll(1, -1), lambda features: features * float("nan")])
def test_one_with_other_features_is_not(fault: Callable[[Tensor], Tensor], caplog: pytest.LogCaptureFixture) -> None:
    assert attempt(Backend(fault), plain_s=2.0, fast_s=1.0) is None
    assert "not used: its features differ" in caplog.text


def test_a_compiler_that_fails_costs_nothing_but_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def fail(features: Tensor) -> Tensor:
        raise RuntimeError("no kernel for this device\nand much more")

    assert attempt(Backend(fail), plain_s=2.0, fast_s=1.0) is None
    assert "no kernel for this device" in caplog.text
    assert "and much more" not in caplog.text


def test_no_other_thread_ever_waits_for_the_compiler() -> None:
    backend = Backend()
    taken: list[Callable[[Tensor], Tensor] | None] = []
    thread = threading.Thread(target=lambda: taken.append(attempt(backend, plain_s=2.0, fast_s=1.0)))
    thread.start()
    thread.join()
    assert taken[0] is not None
    strange = torch.arange(35, dtype=torch.int16).view(7, 5)  # of another type than any that was told
    assert torch.equal(taken[0](strange), Doubling()(strange))
    assert set(backend.threads) == {thread.ident}
