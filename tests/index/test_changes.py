"""Long sequences of changes against a dictionary, with blocks and tiles so small that every edge is crossed."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from indexer.index.cpu import CpuIndex
from indexer.index.gpu import TorchIndex
from indexer.index.idmap import IdMap
from indexer.ports import VectorIndex
from tests.fakes.index import MemoryIndex
from tests.index.samples import Make, draw_queries, draw_rows, norms_of

DIM = 8
POOL = draw_rows(400, DIM)
IDS = st.lists(st.one_of(st.integers(1, 120), st.integers(1, 2**40)), min_size=1, max_size=60, unique=True)


class Changes(RuleBasedStateMachine):
    """What any sequence of changes leaves behind is what a dictionary holds."""

    make: Make

    def __init__(self) -> None:
        super().__init__()
        self.real: VectorIndex = self.make(DIM)
        self.model = MemoryIndex(DIM)
        self.n_drawn = 0

    @rule(ids=IDS)
    def upsert(self, ids: list[int]) -> None:
        self.n_drawn += 1
        rows = np.roll(POOL, self.n_drawn, axis=0)[: len(ids)]
        for index in (self.real, self.model):
            index.upsert(np.array(ids), rows, norms_of(np.array(ids)))

    @rule(ids=IDS)
    def remove(self, ids: list[int]) -> None:
        assert self.real.remove(np.array(ids)) == self.model.remove(np.array(ids))

    @rule(share=st.integers(1, 3))
    def remove_many(self, share: int) -> None:
        ids = self.model.ids()[::share]
        assert self.real.remove(ids) == self.model.remove(ids)

    @rule(k=st.integers(1, 20), n_queries=st.sampled_from([1, 6]), filtered=st.booleans())
    def search(self, k: int, n_queries: int, filtered: bool) -> None:
        queries = draw_queries(n_queries, DIM, seed=self.n_drawn)
        among = self.model.ids()[::2] if filtered else None
        found, wanted = self.real.search(queries, k, among), self.model.search(queries, k, among)
        np.testing.assert_array_equal(found.ids, wanted.ids)
        np.testing.assert_array_equal(found.scores, wanted.scores)

    @invariant()
    def same_content(self) -> None:
        ids = self.model.ids()
        np.testing.assert_array_equal(self.real.ids(), ids)
        assert len(self.real) == len(ids)
        np.testing.assert_array_equal(self.real.rows(ids), self.model.rows(ids))
        np.testing.assert_array_equal(self.real.norms(ids), self.model.norms(ids))
        low, high = self.real.norm_bounds()
        assert low <= self.model.norm_bounds()[0]
        assert high >= self.model.norm_bounds()[1]

    def teardown(self) -> None:
        self.real.close()


def cpu(dim: int) -> VectorIndex:
    return CpuIndex(dim, threads=2, tile_rows=4, first_rows=8, half=True)


def torch_device(dim: int) -> VectorIndex:
    return TorchIndex(dim, device="cpu", first_rows=1, panel_bytes=1)


@pytest.mark.parametrize("make", [cpu, torch_device])
def test_any_sequence_of_changes_leaves_what_a_dictionary_would(make: Make) -> None:
    machine = type("Machine", (Changes,), {"make": staticmethod(make)})
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=20, deadline=None))


class Places(RuleBasedStateMachine):
    """The id map against a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.real = IdMap()
        self.model: dict[int, int] = {}

    @rule(ids=IDS, first=st.integers(0, 2**30))
    def put(self, ids: list[int], first: int) -> None:
        rows = np.arange(first, first + len(ids))
        self.real.put_many(np.array(ids), rows)
        self.model.update(zip(ids, rows.tolist(), strict=True))

    @rule(at=st.integers(0, 10**6))
    def drop(self, at: int) -> None:
        if self.model:
            one = list(self.model)[at % len(self.model)]
            self.real.drop(one)
            del self.model[one]

    @rule(ids=IDS)
    def look(self, ids: list[int]) -> None:
        asked = np.array([*ids, *self.model])
        assert self.real.rows(asked).tolist() == [self.model.get(id, -1) for id in asked.tolist()]

    @invariant()
    def empty_pages_are_given_back(self) -> None:
        assert bool(self.model) == bool(self.real.n_bytes)


def test_the_id_map_is_a_dictionary() -> None:
    run_state_machine_as_test(Places, settings=settings(max_examples=30, stateful_step_count=20, deadline=None))


def test_dense_ids_cost_few_bytes() -> None:
    ids = IdMap()
    ids.put_many(np.arange(1, 100_001), np.arange(100_000))
    assert ids.n_bytes < 5 * 100_000
    for one in range(1, 100_001):
        ids.drop(one)
    assert ids.n_bytes == 0


def test_growing_takes_a_tenth_more_at_most_and_shrinking_gives_it_back() -> None:
    index = CpuIndex(DIM, threads=1, tile_rows=4, first_rows=8)

    def capacity() -> int:
        return index._blocks.capacity

    for n in range(1, 400):
        index.upsert(np.array([n]), POOL[n : n + 1], np.ones(1, np.float32))
        assert n <= capacity() <= 1.1 * n + 8
        assert index.n_bytes == 2 * DIM * n + index._register.n_bytes
    full = capacity()
    index.remove(np.arange(380, 400))
    assert capacity() == full  # a row that comes and goes at the edge of a block costs no block each time
    index.remove(np.arange(1, 371))
    assert capacity() < full / 10
    assert index.n_bytes <= 2 * DIM * capacity() + index._register.n_bytes
    index.remove(index.ids())
    assert capacity() == 0
    index.close()
