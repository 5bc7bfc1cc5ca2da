"""FAISS's flat index in a process of its own, so that its BLAS can be told what to be.

`python -m benchmarks.flat_peer THREADS THRESHOLD ROWS.npy QUERIES.npy` prints the ids that it finds, and then answers
each line on stdin with the seconds of one search.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path


class FlatPeer(AbstractContextManager["FlatPeer"]):
    """`IndexFlatIP` with a kernel of its BLAS and a threshold for using BLAS at all (None: as they come)."""

    def __init__(self, rows: Path, queries: Path, threads: int, threshold: int | None, core: str | None) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        if core:
            environment["OPENBLAS_CORETYPE"] = core
        command = [
            sys.executable,
            "-m",
            "benchmarks.flat_peer",
            str(threads),
            str(threshold or 0),
            str(rows),
            str(queries),
        ]
        self._child = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.ids = json.loads(self._answer())

    def search(self) -> float:
        """Search once; seconds it took there."""
        assert self._child.stdin is not None
        self._child.stdin.write("go\n")
        return float(self._answer())

    def __exit__(self, *_: object) -> None:
        self._child.terminate()
        self._child.wait()

    def _answer(self) -> str:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the peer has ended")
        return line.strip()


def main() -> None:
    import faiss
    import numpy as np

    threads, threshold, rows, queries = int(sys.argv[1]), int(sys.argv[2]), np.load(sys.argv[3]), np.load(sys.argv[4])
    faiss.omp_set_num_threads(threads)
    if threshold:
        faiss.cvar.distance_compute_blas_threshold = threshold
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows.astype(np.float32))
    _, ids = index.search(queries, 10)
    print(json.dumps(ids.tolist()), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        index.search(queries, 10)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
