"""A whole small store, over fakes or real parts, that a test may damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.features.disk import DiskFeatureCache
from indexer.geometry import Geometry
from indexer.index.cpu import CpuIndex
from indexer.ingest.budget import Budget
from indexer.ingest.commit import Committer
from indexer.ingest.river import River, Sources
from indexer.types import ContentHash, FileContent, FilePath, Progress, Stamp, StoredFeature, VerifyReport, content_hash
from indexer.verify.check import Ground, Remedy
from indexer.verify.run import Subject, verify
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.features import MemoryFeatureCache
from tests.fakes.index import MemoryIndex
from tests.fakes.river import SPACE, FakeDecoder, FakeEmbedder, FakeFiles, FakeSettle

ROOT = FilePath(b"/w")


class FakeScanner:
    """Compares `FakeFiles` with what is recorded."""

    def __init__(self, files: FakeFiles) -> None:
        self._files = files
        self.error: OSError | None = None

    def scan(
        self,
        folder: FilePath,
        known: Callable[[FilePath], Mapping[bytes, Stamp]],
        known_folders: Callable[[FilePath], Iterator[FilePath]],
    ) -> Iterator[FilePath]:
        if self.error:
            raise self.error
        recorded = {FilePath(f + b"/" + name): stamp for f in known_folders(folder) for name, stamp in known(f).items()}
        for path in sorted(recorded.keys() | self._files.files.keys()):
            if recorded.get(path) != self._files.stamp(path):
                yield path


class World:
    """Files, the river that indexes them, and verifications of it.

    Args:
        store: Where real parts are; None for fakes.
        space: What the index holds.
    """

    def __init__(self, store: Path | None = None, space: str = "visual") -> None:
        self.files = FakeFiles()
        self.settle = FakeSettle(self.files.stamp)
        self.decoder, self.embedder = FakeDecoder(), FakeEmbedder()
        self.geometry = Geometry(self.embedder.projection, space)  # type: ignore[arg-type]
        self.store = store
        if store is None:
            self.catalogue, self.cache = MemoryCatalogue(), MemoryFeatureCache(SPACE)
            self.index = MemoryIndex(self.geometry.row_dim)
        else:
            store.mkdir(exist_ok=True)
            self.catalogue = SqliteCatalogue.open(store / "catalogue.db")
            self.cache = DiskFeatureCache(store / "features", SPACE)
            self.index = CpuIndex(self.geometry.row_dim)
        self.committer = Committer(self.catalogue, self.cache, self.index, self.geometry, self.settle.add, retry_s=0.01)
        sources = Sources(self.files.read, 1 << 20, self.files.stamp, lambda path: True)
        self.river = River(
            self.settle, sources, self.decoder, self.embedder, self.catalogue, self.cache, self.index, self.committer,
            Budget(32, 1 << 20),
        )  # fmt: skip
        self.scanner = FakeScanner(self.files)
        self.doubt: str | None = None
        self.patience_s = 0.0
        self.on_pause: Callable[[float], None] = lambda seconds: None
        self.progress: list[Progress] = []
        self.n_changed = 0
        self.committer.start()
        self.river.start()

    def close(self) -> None:
        self.river.close()
        self.committer.close()
        self.index.close()
        self.cache.close()
        self.catalogue.close()

    # ------------------------------------------------------------ files

    def bring(self, n: int, first: int = 0) -> list[FilePath]:
        """n indexed images."""
        paths = [self.files.write(b"/w/%d.png" % i, b"image %d" % i) for i in range(first, first + n)]
        return self.index_all(paths)

    def index_all(self, paths: Sequence[FilePath]) -> list[FilePath]:
        for path in paths:
            self.settle.add(path)
        assert self.settle.wait_empty()
        return list(paths)

    def change_secretly(self, path: FilePath, data: bytes) -> None:
        """Other bytes of the same length, and the same stamp, as a failing disk or a backdated copy leaves them."""
        stamp, before = self.files.files[path]
        assert len(data) == len(before)
        self.files.files[path] = (stamp, data)

    def hash_of(self, path: FilePath) -> ContentHash:
        return content_hash(self.files.files[path][1])

    def id_of(self, path: FilePath) -> int:
        return self.catalogue.ids_of([self.hash_of(path)])[self.hash_of(path)]

    # ------------------------------------------------------------ damage

    def drop_row(self, path: FilePath) -> None:
        self.index.remove(np.array([self.id_of(path)]))

    def drop_feature(self, path: FilePath) -> None:
        self.cache.drop_many([self.hash_of(path)])

    def other_feature(self, path: FilePath, label: bytes = b"other") -> None:
        """A sound feature of another picture."""
        kept = self.cache.get_many([self.hash_of(path)])[self.hash_of(path)]
        self.cache.put_many({self.hash_of(path): StoredFeature(self.feature_of(label), kept.info)})

    def add_row(self, vector_id: int) -> None:
        rows, norms = self.geometry.rows(self.feature_of(b"phantom")[None, :])
        self.index.upsert(np.array([vector_id]), rows, norms)

    def feature_of(self, data: bytes) -> np.ndarray[tuple[int], np.dtype[np.float16]]:
        pixels = self.decoder.decode(data).result().pixels
        return self.embedder.feature_of(pixels)

    # ------------------------------------------------------------ verifying

    def verify(self, *, sample: int = 0, repair: bool = False, river: bool = True) -> VerifyReport:
        def changed(n: int) -> None:
            self.n_changed += n

        def encode_anew(hashes: Sequence[ContentHash]) -> None:
            records = self.catalogue.images(list(self.catalogue.ids_of(hashes).values())).values()
            self.river.bring({record.hash: record.paths for record in records}, anew=True)

        def pause(seconds: float) -> None:
            self.on_pause(seconds)
            if seconds:
                self.settle.wait_empty(seconds)

        ground = Ground(
            folders=[ROOT],
            look=self.files.stamp,
            exists=lambda path: self.files.stamp(path) is not None,
            read=self._read,
            doubt=lambda folder, n_missing, n_lost: self.doubt,
            on_its_way=lambda path: self.settle.state(path) is not None,
            patience_s=self.patience_s,
        )
        subject = Subject(
            self.catalogue, self.cache, self.index, self.geometry, self.committer.lock, self.scanner, ground,
            model=(self.decoder, self.embedder),
            remedy=Remedy(self.settle.add, encode_anew, lambda: len(self.settle) == 0) if river else None,
            changed=changed,
        )  # fmt: skip
        return verify(
            subject, sample=sample, repair=repair, on_progress=self.progress.append, pause=pause,
            rng=np.random.default_rng(5),
        )  # fmt: skip

    def _read(self, path: FilePath) -> FileContent:
        stamp = self.files.stamp(path)
        if stamp is None:
            raise FileNotFoundError(path)
        return self.files.read(path, stamp)
