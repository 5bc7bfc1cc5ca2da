"""Requests that a machine makes up from the OpenAPI document: valid ones, and ones with something wrong."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from litestar import Litestar

from benchmarks.report import Row, at_least, at_most

CASES = 20_000
MOST_AT_ONCE = 400
"""Cases of one operation before the next one's turn; one without parameters has a single case, and is soon left."""


@dataclass
class Result:
    """What came of the cases."""

    n: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    n_operations: int = 0


def rows(quick: bool, seed: int) -> Iterator[Row]:
    began = time.monotonic()
    result = fuzz(1_000 if quick else CASES, seed)
    for fault, n in result.faults.most_common(10):
        print(n, fault, file=sys.stderr)
    told = ", ".join(f"{status} {n:,} times" for status, n in sorted(result.statuses.items()))
    took_s = time.monotonic() - began
    if not quick:
        what = f"made-up requests to {result.n_operations} operations in {took_s:.0f} s ({told})"
        yield at_least("O2", what, result.n, "", CASES)
    failed = sum(n for status, n in result.statuses.items() if status >= 500 and status != 503)
    yield at_most("O2a", f"of {result.n:,} answered 5xx other than 503", failed, "", 0)
    yield at_most("O2b", "answers that do not fit the document", result.faults.total(), "", 0)


def fuzz(n_cases: int, seed: int) -> Result:
    """Ask until there were so many cases; each round has other seeds."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

    schema = schemathesis.openapi.from_asgi("/api/openapi.json", endless_ends_at_once())
    operations = [each.ok() for each in schema.get_all_operations()]  # type: ignore[union-attr]  # the document is valid
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    left = {(operation.label, mode): (operation, mode) for operation in operations for mode in modes}
    result = Result(n_operations=len(operations))
    n_round = 0
    # Few made-up bytes are a picture, and few lists a vector of the right length; whether nonsense is refused is
    # judged by tests that know what is nonsense.
    excluded = [positive_data_acceptance, negative_data_rejection]

    def once(operation: Any, mode: GenerationMode, n_most: int) -> int:
        n_before = result.n

        def ask(case: Any) -> None:
            result.n += 1
            answer = case.call()
            result.statuses[answer.status_code] += 1
            try:
                case.validate_response(answer, excluded_checks=excluded)
            except Exception as e:
                result.faults[f"{operation.label} {answer.status_code}: {' '.join(str(e).split())[:300]}"] += 1

        limits = settings(
            max_examples=n_most,
            deadline=None,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        strategy = operation.as_strategy(generation_mode=mode)
        try:
            seeded(seed * 1000 + n_round)(limits(given(case=strategy)(ask)))()
        except Exception as e:  # nothing can be made wrong about an operation that takes nothing
            print(f"{operation.label} {mode.value}: {type(e).__name__} {str(e)[:100]}", file=sys.stderr)
        return result.n - n_before

    while result.n < n_cases and left:
        n_most = min(MOST_AT_ONCE, (n_cases - result.n) // len(left) + 1)
        for key, (operation, mode) in list(left.items()):
            if once(operation, mode, n_most) < n_most // 2:
                del left[key]
        n_round += 1
    return result


def endless_ends_at_once() -> Litestar:
    """The service as it is while it stops: its streams of events end after their first frames."""
    from search_api.app import create_app
    from search_api.settings import ApiSettings
    from tests.fakes.engine import FakeEngine

    app = create_app(FakeEngine(), ApiSettings(allowed_hosts=("testserver",)))
    app.on_startup.append(lambda app: app.state.stopping.set())
    return app
