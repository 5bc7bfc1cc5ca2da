from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from indexer.encoder.threads import cores_each
from indexer.index.gemm import one_thread_each


def n_threads_after(prepare: Callable[[], None]) -> int:
    """What a new thread that has prepared itself computes on, once it has computed something."""
    found: list[int] = []

    def work() -> None:
        prepare()
        torch.ones(200_000).exp()
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_keeps_to_its_cores_and_the_others_keep_theirs() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert n_threads_after(cores_each(2)) == 2
        assert n_threads_after(cores_each(1)) == 1
        assert n_threads_after(one_thread_each()) == 1
        assert torch.get_num_threads() == n_threads_after(lambda: None) == 3
    finally:
        torch.set_num_threads(before)
