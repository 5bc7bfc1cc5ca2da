"""Requests of the worst manners, made by hand, byte by byte over a connection each."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.outside.service import running
from benchmarks.report import Row, at_least, at_most
from tests.api.hostile import REQUESTS, exchange, fault_of

FEWEST = 300


def rows(quick: bool, seed: int) -> Iterator[Row]:
    with running(header_timeout_s=1.0, body_timeout_s=1.0) as service:
        before = service.n_descriptors
        faults = {}
        for request in REQUESTS[:: 5 if quick else 1]:
            if fault := fault_of(request, exchange(service.address, request)):
                faults[request[:80]] = fault
        left = service.n_descriptors - before
    for start, fault in faults.items():
        print(start, fault, file=sys.stderr)
    if not quick:
        yield at_least("O1", "hostile requests made by hand", len(REQUESTS), "", FEWEST)
    yield at_most("O1a", "of them answered 5xx other than 503, or in another shape than documented", len(faults), "", 0)
    yield at_most("O1b", "descriptors left open by them", max(left, 0), "", 0)
