"""What the service is doing, for Prometheus."""

from __future__ import annotations

import os
import time
from collections import Counter

from litestar import Response, get

from indexer.types import GpuMemory, QueueState, Readiness, Stats
from search_api.bodies import ApiRequest
from search_api.metrics import MEDIA_TYPE, Page
from search_api.openapi import MetricsPage, refusals
from search_api.service import Service

STATES = ("open", "closed", "stopped", "lost")
STAGES = ("idle", "scan", "settle", "read", "decode", "encode", "store", "stopped")


@get(
    "/metrics",
    tags=["state"],
    media_type=MEDIA_TYPE,
    operation_class=MetricsPage,
    responses=refusals(),
)
async def metrics(request: ApiRequest) -> Response[str]:
    """Everything that is counted, for Prometheus. Base units; no label holds a path."""
    service = request.service
    return Response(await service.watch(lambda: _page(service)), media_type=MEDIA_TYPE)


def _page(service: Service) -> str:
    engine, page = service.engine, Page()
    stats = engine.stats()
    _identity(page, stats)
    _index(page, stats)
    _stages(page, stats)
    _queue(page, stats, engine.queue())
    _memory(page, engine.gpu_memory())
    _health(page, engine.readiness())
    _requests(page, service)
    _process(page)
    return page.render()


def _identity(page: Page, stats: Stats) -> None:
    page.gauge(
        "lookalike_info", "What answers; always 1.", 1,
        model=stats.model, precision=stats.precision, device=stats.device, space=stats.fingerprint,
    )  # fmt: skip
    page.gauge("lookalike_start_time_seconds", "When the service started, since the epoch.", stats.started_at)


def _index(page: Page, stats: Stats) -> None:
    page.gauge("lookalike_images", "Images that can be found.", stats.indexed)
    page.gauge("lookalike_files", "Files that hold them.", stats.files)
    page.family(
        "lookalike_refused_files", "gauge", "Files that cannot be searched, by reason.",
        [({"reason": reason}, n) for reason, n in sorted(stats.errors_by_reason.items())],
    )  # fmt: skip
    page.gauge("lookalike_index_bytes", "Memory of the index.", stats.index_bytes)
    page.gauge("lookalike_index_generation", "Number of the last snapshot.", stats.generation)
    page.counter("lookalike_removed_images_total", "Images that went away since the start.", stats.removed_total)
    if stats.verify is not None:
        page.gauge("lookalike_verify_findings", "Findings of the last verification not mended.", stats.verify.n_left)


def _stages(page: Page, stats: Stats) -> None:
    page.gauge("lookalike_pending_files", "Paths known to have changed and not yet dealt with.", stats.pending)
    page.gauge("lookalike_oldest_pending_seconds", "For how long the first of them waits.", stats.oldest_pending_s)
    page.counter("lookalike_encoded_images_total", "Images encoded since the start.", stats.encoded_total)
    page.counter("lookalike_cache_hits_total", "Features found in the cache since the start.", stats.cache_hits_total)
    page.gauge("lookalike_encoding_images_per_second", "Pace over the last ten seconds.", stats.images_per_s)
    page.family(
        "lookalike_stage_limiting", "gauge", "1 for the stage that sets the pace now.",
        [({"stage": stage}, stage == stats.limited_by) for stage in STAGES],
    )  # fmt: skip
    # Folders by their state alone: what is wrong with one would name it.
    states = Counter(state if state in ("events", "polling") else "trouble" for state in stats.watching.values())
    page.family(
        "lookalike_watched_folders", "gauge", "Watched folders by state.",
        [({"state": state}, states[state]) for state in ("events", "polling", "trouble")],
    )  # fmt: skip


def _queue(page: Page, stats: Stats, queue: QueueState) -> None:
    page.gauge("lookalike_queue_depth", "Pictures and texts that wait for the encoder.", queue.depth)
    page.gauge("lookalike_queue_oldest_seconds", "For how long the first of them waits.", queue.oldest_s)
    page.counter("lookalike_queue_rejected_total", "Queries refused because too many waited.", queue.rejected_total)
    page.gauge(
        "lookalike_encoder_busy_ratio", "Share of the last ten seconds they worked, in the mean.", queue.busy_share
    )
    encoders = [({"encoder": str(i), "device": load.device}, load) for i, load in enumerate(queue.devices)]
    page.family(
        "lookalike_device_busy_ratio", "gauge", "Share of the last ten seconds that each encoder worked.",
        [(labels, load.busy_share) for labels, load in encoders],
    )  # fmt: skip
    page.family(
        "lookalike_device_images_per_second", "gauge", "Pace of each encoder over the last ten seconds.",
        [(labels, load.images_per_s) for labels, load in encoders],
    )  # fmt: skip
    page.family(
        "lookalike_device_state", "gauge", "1 for the state that each encoder is in.",
        [({**labels, "state": state}, load.state == state) for labels, load in encoders for state in STATES],
    )  # fmt: skip
    page.gauge("lookalike_batch_size", "Pictures that the next batch may hold.", queue.batch_size)
    page.gauge("lookalike_batch_size_limit", "Pictures that any batch may hold.", stats.batch_size)


def _memory(page: Page, memory: GpuMemory) -> None:
    ledgers = [(ledger.device, ledger.parts) for ledger in memory.ledger]
    if memory.process is not None:
        ledgers.append(("process", memory.process.parts))
    page.family(
        "lookalike_memory_bytes", "gauge", "What memory is used for: devices and the service's own.",
        [({"device": device, "part": part.name}, part.bytes) for device, parts in ledgers for part in parts],
    )  # fmt: skip
    page.family(
        "lookalike_device_memory_total_bytes", "gauge", "All that a device has.",
        [({"device": ledger.device}, ledger.total_bytes) for ledger in memory.ledger],
    )  # fmt: skip
    page.family(
        "lookalike_device_memory_explained_ratio", "gauge", "Share of the service's own that is explained.",
        [({"device": ledger.device}, ledger.explained_share) for ledger in memory.ledger],
    )  # fmt: skip
    page.gauge("lookalike_leaks", "Memories that grow with the work and do not come back.", len(memory.leaks))
    page.family(
        "lookalike_leak_bytes_per_second", "gauge", "How fast each of them grows.",
        [({"component": leak.component}, leak.bytes_per_s) for leak in memory.leaks],
    )  # fmt: skip


def _health(page: Page, readiness: Readiness) -> None:
    page.gauge("lookalike_ready", "1 while searches are answered.", readiness.ready)
    page.family(
        "lookalike_check", "gauge", "1 where a check is well, 0 where it warns or fails.",
        [({"check": name}, text == "ok") for name, text in readiness.checks.items()],
    )  # fmt: skip


def _requests(page: Page, service: Service) -> None:
    counts = service.counts
    answers = sorted(counts.answers.copy().items())
    page.histogram("lookalike_search_duration_seconds", "Time of searches, encoding included.", counts.search_s)
    page.histogram("lookalike_search_embed_duration_seconds", "Time of searches' encoding.", counts.embed_s)
    page.family(
        "lookalike_http_answers_total", "counter", "Answers by method and status.",
        [({"method": method, "status": str(status)}, n) for (method, status), n in answers],
    )  # fmt: skip
    page.gauge("lookalike_calls", "Requests that wait for the engine, or are at it.", service.workers.n_calls)
    page.counter("lookalike_calls_rejected_total", "Refused because too many waited.", service.workers.n_rejected)
    page.gauge("lookalike_listeners", "Streams of events that are open.", service.n_listeners)


def _process(page: Page) -> None:
    """Under the names that every Prometheus client uses."""
    page.counter("process_cpu_seconds_total", "Processor time of the service.", time.process_time())
    try:
        n_open = len(os.listdir("/proc/self/fd"))
    except OSError:  # not on Linux
        return
    page.gauge("process_open_fds", "Open file descriptors.", n_open)


ROUTES = [metrics]
