"""One order and one answer of each kind, for the OpenAPI document. Questions have theirs in `openapi`."""

from __future__ import annotations

from typing import Any, Final

from search_api import schemas
from search_api.openapi import Records
from search_api.schemas import EXAMPLE_ID

_SPACE: Final = "0123456789abcdef"
_TIME: Final = "2026-11-22T12:00:00Z"
_PICTURE: Final[dict[str, Any]] = {
    "id": EXAMPLE_ID,
    "path": "/pictures/car.jpg",
    "paths": ["/pictures/car.jpg", "/pictures/copies/car.jpg"],
    "width": 640,
    "height": 480,
    "modified": _TIME,
    "thumbnail_url": f"/api/images/{EXAMPLE_ID}/thumbnail",
    "format": "jpeg",
    "size_bytes": 86_000,
}
_PROGRESS: Final[dict[str, Any]] = {
    "task": "rebuild", "running": True, "n_done": 512, "n_total": 1024, "rate_per_s": 250.0, "eta_s": 2.0,
    "summary": {"n_encoded": 0}, "error": "",
}  # fmt: skip
_INDEX: Final[dict[str, Any]] = {
    "indexed": 1024, "files": 1100, "pending": 3, "errors": 2, "generation": 7, "added": [EXAMPLE_ID], "removed": 0,
}  # fmt: skip
_QUEUE: Final[dict[str, Any]] = {
    "depth": 12, "oldest_s": 0.04, "images_per_s": 410.0, "batch_size": 64, "limited_by": "decode",
    "rejected_total": 0, "busy_share": 0.62,
    "devices": [
        {"device": "cuda:0", "state": "open", "images_per_s": 410.0, "busy_share": 0.62, "batch_size": 64,
         "encoded_total": 900, "weights_bytes": 1_300_000_000, "trouble": None},
    ],
}  # fmt: skip
_LEAK: Final[dict[str, Any]] = {
    "component": "process", "bytes_per_s": 4e5, "bytes_per_request": 1e4, "since": _TIME,
    "sentence": "process grows by 10 kB a request since 12:00.",
}  # fmt: skip
_VERIFY: Final[dict[str, Any]] = {
    "ok": True, "started_at": _TIME, "seconds": 1.5, "sample": 32, "repair": True, "files": 1100, "contents": 1024,
    "features": 1030, "rows": 1024, "kept": 6, "reencoded": 32, "found": {"missing": 1}, "mended": {"missing": 1},
    "examples": [
        {"flaw": "missing", "what": "the index has no row", "id": EXAMPLE_ID, "vector_id": 5, "path": None,
         "mended": True},
    ],
    "notes": [],
}  # fmt: skip
_STANDING: Final[dict[str, Any]] = {
    "id": "0123456789abcdef", "name": "red cars", "score_threshold": 0.24, "created": _TIME, "n_matches": 3,
    "webhook": None, "secret": None,
}  # fmt: skip
_MODEL: Final[dict[str, Any]] = {"model": "ViT-H-14", "precision": "fp16", "fingerprint": _SPACE, "device": "cuda:0"}

EXAMPLES: Records = {
    schemas.NewestRequest: [{"limit": 20}, {"where": {"path": "holiday/**", "format": ["jpeg"]}}],
    schemas.RescanRequest: [{"confirm_gone": True}],
    schemas.RebuildRequest: [{"reencode": False}],
    schemas.VerifyRequest: [{"sample": 32, "repair": True}],
    schemas.StandingRequest: [{"question": {"text": "a red car"}, "name": "red cars"}],
    schemas.DuplicatesAnswer: [
        {
            "tier": "variant", "groups": [{"score": 0.98, "images": [_PICTURE]}], "total": 12, "limit": 50,
            "offset": 0, "took_ms": 0.4, "progress": None,
        }
    ],
    schemas.StandingAnswer: [_STANDING],
    schemas.StandingAnswers: [{"standing": [_STANDING]}],
    schemas.MatchEvent: [{"standing_id": "0123456789abcdef", "name": "red cars", "score": 0.31, "image": _PICTURE}],
    schemas.RetryRequest: [{"path": "/pictures"}],
    schemas.SearchAnswer: [
        {
            "hits": [{**_PICTURE, "score": 0.31, "relevance": 0.998, "n_alike": 0, "vector": None}],
            "limit": 20, "offset": 0, "took_ms": {"embed": 6.1, "search": 1.2, "total": 7.4}, "model": "ViT-H-14",
            "space": _SPACE, "index": {"count": 1024, "generation": 7}, "cursor": None, "cut_score": 0.21,
            "matching": None,
        }
    ],
    schemas.ImageAnswer: [_PICTURE],
    schemas.NewestAnswer: [{"images": [_PICTURE], "matching": 1024, "before": 981}],
    schemas.EmbedImageAnswer: [
        {"id": EXAMPLE_ID, "feature": [0.6, 0.8], "embedding": [1.0], "model": "ViT-H-14", "space": _SPACE}
    ],
    schemas.EmbedTextAnswer: [{"embeddings": [[0.6, 0.8]], "dim": 2, "model": "ViT-H-14", "space": _SPACE}],
    schemas.StatsAnswer: [
        {
            **_MODEL, "started_at": _TIME, "files": 1100, "indexed": 1024, "errors": 2,
            "errors_by_reason": {"corrupt": 2}, "pending": 3, "oldest_pending_s": 0.4, "encoded_total": 900,
            "cache_hits_total": 124, "removed_total": 6, "generation": 7, "index_bytes": 2_654_208,
            "images_per_s": 410.0, "limited_by": "decode", "progress": [_PROGRESS],
            "watching": {"/pictures": "events"}, "notices": [],
            "spaces": [{"fingerprint": _SPACE, "model": "ViT-H-14", "active": True}], "verify": _VERIFY,
            "batch_size": 64, "batch_size_from": "tuned",
            "point": {"n_probe": 32, "factor": 16, "recall": 0.985, "sure_recall": 0.981, "p50_ms": 1.1,
                      "p99_ms": 2.3, "n_bytes": 1_000_000},
            "leaks": [_LEAK],
            "queue": _QUEUE,
            "requests_waiting": 0, "requests_rejected_total": 2,
        }
    ],
    schemas.ErrorsAnswer: [
        {
            "errors": [
                {"path": "/pictures/broken.jpg", "reason": "corrupt", "detail": "The file ends too early.",
                 "recorded": _TIME, "modified": _TIME, "size_bytes": 18, "retried": False},
            ],
            "limit": 100, "offset": 0, "total": 2,
        }
    ],
    schemas.RetryAnswer: [{"n": 3}],
    schemas.TuningAnswer: [
        {
            **_MODEL, "size": 64, "ended": "time", "budget_bytes": 20_000_000_000, "longest_ms": 250.0,
            "measured": _TIME,
            "rows": [
                {"size": 32, "memory_bytes": 3_100_000_000, "images_per_s": 380.0, "latency_ms": 84.0},
                {"size": 64, "memory_bytes": 4_200_000_000, "images_per_s": 410.0, "latency_ms": 156.0},
            ],
        }
    ],
    schemas.WhyAnswer: [
        {
            "path": "/pictures/broken.jpg", "standing": "refused", "searchable": False,
            "sentence": "It was refused, corrupt; it is tried again when the file changes.", "rule": "",
            "waits_s": None, "reason": "corrupt", "detail": "The file ends too early.", "recorded": _TIME, "id": None,
            "vector_id": None, "same_content": [],
        }
    ],
    schemas.IndexEvent: [_INDEX],
    schemas.QueueEvent: [_QUEUE],
    schemas.GpuMemoryAnswer: [
        {
            "available": True, "reason": "",
            "devices": [
                {"index": 0, "name": "NVIDIA H200", "total_bytes": 150_754_820_096, "used_bytes": 4_600_000_000,
                 "free_bytes": 146_154_820_096, "torch_allocated_bytes": 2_000_000_000,
                 "torch_reserved_bytes": 3_900_000_000, "torch_peak_bytes": 3_700_000_000},
            ],
            "ledger": [
                {"device": "gpu0", "name": "NVIDIA H200", "total_bytes": 150_754_820_096,
                 "parts": [
                     {"name": "weights", "bytes": 1_972_000_000}, {"name": "activations", "bytes": 1_700_000_000},
                     {"name": "context", "bytes": 600_000_000}, {"name": "other_processes", "bytes": 100_000_000},
                 ],
                 "processes": [{"pid": 4711, "name": "Xorg", "bytes": 100_000_000}], "explained_share": 0.99},
            ],
            "process": {"rss_bytes": 2_100_000_000, "parts": [{"name": "heap", "bytes": 700_000_000}]},
            "forecast": {"exact_images": 56_000_000, "compressed_images": 800_000_000}, "leaks": [],
        }
    ],
    schemas.MemoryHistoryAnswer: [
        {
            "step_s": 1, "times": [1_795_348_800.0, 1_795_348_801.0],
            "series": [{"device": "gpu0", "name": "weights", "bytes": [1_972_000_000, None]}],
        }
    ],
    schemas.ReleasedAnswer: [{"freed_bytes": 1_800_000_000, "devices": {"gpu0": 1_800_000_000, "process": 0}}],
    schemas.AcceptedAnswer: [{"status": "accepted"}],
    schemas.ProgressAnswer: [_PROGRESS],
    schemas.LiveAnswer: [{"status": "ok"}],
    schemas.ReadyAnswer: [{"ready": True, "checks": {"answers": "ok", "encoder": "ok", "index": "ok", "memory": "ok"}}],
}  # fmt: skip
"""Type of a body -> examples of it. Answers say all that they can say."""
