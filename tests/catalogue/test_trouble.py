"""No room, no permission, and kill -9: what was acknowledged stays, what failed left no trace."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.errors import StoreFull
from indexer.types import Outcome
from tests.catalogue.samples import answers, found, gone, refused
from tests.fakes.catalogue import MemoryCatalogue

Open = Callable[[], SqliteCatalogue]


@contextmanager
def files_no_longer_than(n_bytes: int) -> Iterator[None]:
    """Writes beyond this offset fail for the whole process, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def history(seed: int, n_batches: int) -> list[list[Outcome]]:
    """The same batches for the same seed: files come, change, move and go."""
    rng = random.Random(seed)
    paths = [b"/pictures/%d/%d.jpg" % (n % 3, n) for n in range(40)]
    batches = []
    for _ in range(n_batches):
        batch: list[Outcome] = []
        for path in rng.sample(paths, rng.randint(1, 12)):
            pick = rng.random()
            batch.append(gone(path) if pick < 0.3 else refused(path) if pick < 0.4 else found(path, rng.randrange(30)))
        batches.append(batch)
    return batches


@pytest.mark.parametrize("n_bytes", [4096 * n for n in (0, 1, 2, 5, 9, 16)])
def test_a_full_disk_records_nothing_and_hurts_nothing(open_sqlite: Open, n_bytes: int) -> None:
    catalogue = open_sqlite()
    catalogue.commit([found(b"/pictures/%d.jpg" % n, n) for n in range(30)])
    before = answers(catalogue)
    batch = [found(b"/more/%d.jpg" % n, 1000 + n) for n in range(3000)]
    with files_no_longer_than(n_bytes):
        with pytest.raises(StoreFull):
            catalogue.commit(batch)
        assert answers(catalogue) == before
    seq = catalogue.commit([gone(b"/pictures/1.jpg")]).seq
    assert catalogue.commit(batch).seq == seq + 1
    assert catalogue.counts().files == 3029
    catalogue.close()
    assert open_sqlite().counts().files == 3029


def test_a_database_at_its_largest_is_full(open_sqlite: Open) -> None:
    catalogue = open_sqlite()
    catalogue.commit([found(b"/pictures/%d.jpg" % n, n) for n in range(30)])
    before = answers(catalogue)
    (n_pages,) = catalogue._con.execute("PRAGMA page_count").fetchone()
    n_refused = 0
    for more in range(20):
        catalogue._con.execute(f"PRAGMA max_page_count = {n_pages + more}")
        try:
            catalogue.commit([found(b"/more/%d.jpg" % n, 1000 + n) for n in range(200)])
        except StoreFull:
            n_refused += 1
            assert answers(catalogue) == before
        else:
            break
    assert 5 < n_refused < 20
    assert catalogue.counts().files == 230


def test_a_catalogue_that_may_not_be_written_is_full_and_still_answers(open_sqlite: Open) -> None:
    catalogue = open_sqlite()
    catalogue.commit([found(b"/pictures/a.jpg", 1)])
    before = answers(catalogue)
    catalogue._con.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreFull):
        catalogue.commit([gone(b"/pictures/a.jpg")])
    assert answers(catalogue) == before
    catalogue._con.execute("PRAGMA query_only = OFF")
    assert len(catalogue.commit([gone(b"/pictures/a.jpg")]).removed) == 1


def test_no_room_for_a_first_start_is_said(tmp_path: Path) -> None:
    with files_no_longer_than(0), pytest.raises(StoreFull):
        SqliteCatalogue.open(tmp_path / "catalogue.db")
    SqliteCatalogue.open(tmp_path / "catalogue.db").close()


def test_a_store_in_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreFull, match="cannot be opened"):
        SqliteCatalogue.open(tmp_path / "nowhere" / "catalogue.db")


WRITER = """
import os, sys
from pathlib import Path
from indexer.catalogue.sqlite import SqliteCatalogue
from tests.catalogue.test_trouble import history
catalogue = SqliteCatalogue.open(Path(sys.argv[1]))
for batch in history(int(sys.argv[2]), 2000)[int(sys.argv[3]):]:
    os.write(1, b"%d\\n" % catalogue.commit(batch).seq)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(7)
    path = tmp_path / "catalogue.db"
    model, n_done = MemoryCatalogue(), 0
    batches = history(1, 2000)
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", WRITER, path, "1", str(n_done)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            acknowledged = n_done
            for _ in range(rng.randint(1, 20)):
                acknowledged = int(child.stdout.readline())
            child.kill()
            acknowledged = max([acknowledged, *map(int, child.stdout.read().split(b"\n")[:-1])])
        catalogue = SqliteCatalogue.open(path)
        recorded = catalogue.commit([]).seq
        assert acknowledged <= recorded <= acknowledged + 1
        for batch in batches[n_done:recorded]:
            model.commit(batch)
        n_done = recorded
        assert answers(catalogue) == answers(model)
        assert catalogue.notices == ()
        catalogue.close()
