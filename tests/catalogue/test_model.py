"""Any history of batches and restarts: SQLite answers as the model in dicts does."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.types import FilePath, Found, Gone, Outcome, Reason, Refused, Stamp
from tests.catalogue.samples import answers, hash_of, info_of
from tests.fakes.catalogue import MemoryCatalogue

folders = st.sampled_from([b"", b"/p", b"/p/q", b"/p/q/r", b"/p0", b"/p-", b"/\xff"])
names = st.sampled_from([b"a", b"b.jpg", b"q", b"\xfe\n", b"%"])
paths = st.builds(lambda folder, name: FilePath(folder + b"/" + name), folders, names)
numbers = st.integers(0, 3) | st.sampled_from([-1, 2**63 - 1, 2**63, 2**64 - 1, -(2**70)])
stamps = st.builds(Stamp, numbers, numbers, numbers, numbers, numbers)
contents = st.integers(0, 4)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Gone, paths),
    st.builds(lambda path, stamp, n: Found(path, stamp, hash_of(n), info_of(n)), paths, stamps, contents),
    st.builds(Refused, paths, stamps, st.sampled_from(Reason), st.text(max_size=5)),
)


class History(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model = MemoryCatalogue()
        self.ticks = itertools.count(1_800_000_000)
        self.real = self.open()
        self.ids: dict[int, int] = {}

    def open(self) -> SqliteCatalogue:
        return SqliteCatalogue.open(self.folder / "catalogue.db", clock=lambda: next(self.ticks))

    @rule(batch=st.lists(outcomes, max_size=8))
    def commit(self, batch: list[Outcome]) -> None:
        expected, committed = self.model.commit(batch), self.real.commit(batch)
        assert committed.seq == expected.seq
        assert committed.ids.keys() == expected.ids.keys()
        for content, model_id in expected.ids.items():
            assert self.ids.setdefault(model_id, committed.ids[content]) == committed.ids[content]
        assert len(set(self.ids.values())) == len(self.ids), "an id was used twice"
        assert sorted(committed.removed) == sorted(self.ids[n] for n in expected.removed)

    @rule(stamp=stamps)
    def ask_by_stamp(self, stamp: Stamp) -> None:
        holders = {r[1] for r in answers(self.model)["files"].values() if r[0] == stamp and r[1] is not None}
        assert self.real.hashes_by_stamp([stamp]).get(stamp) in (holders or {None})

    @rule(path=paths)
    def ask_below(self, path: FilePath) -> None:
        assert sorted(self.real.files_under(path)) == sorted(self.model.files_under(path))
        assert sorted(self.real.folders_under(path)) == sorted(self.model.folders_under(path))

    @precondition(lambda self: self.ids)
    @rule()
    def close_and_open(self) -> None:
        self.real.close()
        self.real = self.open()

    @precondition(lambda self: self.ids)
    @rule()
    def lose_power(self) -> None:
        """A copy of the files as they lie on disk now is all that is left."""
        copy = Path(tempfile.mkdtemp())
        for file in self.folder.iterdir():
            shutil.copy(file, copy / file.name)
        self.real.close()
        shutil.rmtree(self.folder)
        self.folder = copy
        self.real = self.open()

    @invariant()
    def both_answer_alike(self) -> None:
        assert answers(self.real) == answers(self.model)

    def teardown(self) -> None:
        self.real.close()
        shutil.rmtree(self.folder)


History.TestCase.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
TestHistory = History.TestCase
