"""What a service says of itself, made up."""

from __future__ import annotations

from typing import Any

import numpy as np

GB = 1_000_000_000


def stats(n: int) -> dict[str, Any]:
    return {
        "model": "ViT-H-14",
        "fingerprint": "0" * 16,
        "precision": "fp16",
        "device": "cuda:0",
        "started_at": "2026-11-22T10:00:00Z",
        "files": n + 1,
        "indexed": n,
        "errors": 3,
        "errors_by_reason": {"corrupt": 2, "too_many_pixels": 1},
        "pending": 0,
        "oldest_pending_s": 0.0,
        "encoded_total": n,
        "cache_hits_total": n // 3,
        "removed_total": 1,
        "generation": 7,
        "index_bytes": 2560 * n,
        "images_per_s": 0.0,
        "limited_by": "idle",
        "progress": [],
        "watching": {"/pictures": "events"},
        "notices": [],
        "spaces": [],
        "batch_size": 64,
        "batch_size_from": "tuned",
        "verify": {
            "ok": True,
            "started_at": "2026-11-22T09:00:00Z",
            "seconds": 1.5,
            "sample": 32,
            "repair": True,
            "files": n + 1,
            "contents": n,
            "features": n,
            "rows": n,
            "kept": 0,
            "reencoded": 32,
            "found": {"missing": 1},
            "mended": {"missing": 1},
            "examples": [],
            "notes": [],
        },
    }


def no_gpu() -> dict[str, Any]:
    parts = [
        {"name": name, "bytes": n}
        for name, n in (("heap", 800_000_000), ("libraries", 300_000_000), ("shared", 50_000_000))
    ]
    return {
        "available": False,
        "reason": "no NVIDIA driver",
        "devices": [],
        "ledger": [],
        "leaks": [],
        "process": {"rss_bytes": 1_150_000_000, "parts": parts},
        "forecast": {"exact_images": 4_000_000, "compressed_images": 40_000_000},
    }


PARTS = {
    "weights": 1.3,
    "activations": 0.9,
    "index": 2.6,
    "reserve": 0.4,
    "context": 0.5,
    "other_processes": 1.1,
    "unexplained": 0.1,
}


def gpu(**more: float) -> dict[str, Any]:
    """A GPU's ledger; `more` are gigabytes of parts."""
    parts = [{"name": name, "bytes": int(n * GB)} for name, n in {**PARTS, **more}.items()]
    return {
        "available": True,
        "reason": "",
        "devices": [],
        "ledger": [
            {
                "device": "gpu0",
                "name": "NVIDIA H100",
                "total_bytes": 80 * GB,
                "parts": parts,
                "processes": [],
                "explained_share": 0.99,
            }
        ],
        "process": {"rss_bytes": 2 * GB, "parts": []},
        "forecast": {"exact_images": 28_000_000, "compressed_images": 250_000_000},
        "leaks": [],
    }


def history(device: str, names: tuple[str, ...], n: int = 120, until: float = 1_763_812_800.0) -> dict[str, Any]:
    wave = np.sin(np.arange(n) / 9) * 0.15 + 1
    return {
        "step_s": 5,
        "times": [until - 5.0 * (n - i) for i in range(n)],
        "series": [
            {
                "device": device,
                "name": name,
                "bytes": [int(PARTS.get(name, 0.3) * GB * (w if name == "activations" else 1)) for w in wave],
            }
            for name in names
        ],
    }


def encoder(device: str, state: str = "open", trouble: str | None = None) -> dict[str, Any]:
    """One encoder's load."""
    load = {"images_per_s": 406.1, "busy_share": 0.93, "batch_size": 32, "encoded_total": 9, "weights_bytes": GB}
    return {"device": device, "state": state, "trouble": trouble, **load}


def leak(sentence: str) -> dict[str, Any]:
    """One that is told in this sentence."""
    rates = {"bytes_per_s": 2e6, "bytes_per_request": 1e4, "since": "2026-11-22T11:00:00Z"}
    return {"component": "index", **rates, "sentence": sentence}


def progress(task: str) -> dict[str, Any]:
    """A task under way."""
    done = {"n_done": 2, "n_total": 9, "rate_per_s": 1.0, "eta_s": 7.0}
    return {"task": task, "running": True, **done, "summary": {}, "error": ""}


def refused(i: int) -> dict[str, Any]:
    return {
        "path": f"/pictures/broken-{i}.jpg",
        "reason": "too_many_pixels" if i == 2 else "corrupt",
        "detail": "cannot be decoded",
        "recorded": "2026-11-22T11:00:00Z",
        "modified": "2026-11-22T10:00:00Z",
        "size_bytes": 18_000,
        "retried": False,
    }


TUNING = {
    "size": 64,
    "ended": "time",
    "budget_bytes": 70 * GB,
    "longest_ms": 250.0,
    "device": "NVIDIA H100",
    "model": "ViT-H-14",
    "precision": "fp16",
    "fingerprint": "0" * 16,
    "measured": "2026-11-22T09:30:00Z",
    "rows": [
        {
            "size": size,
            "memory_bytes": int(1.3 * GB + size * 14e6),
            "images_per_s": 1800 * size / (size + 9),
            "latency_ms": (size + 9) / 1.8,
        }
        for size in (1, 2, 4, 8, 16, 32, 64, 128, 256)
    ],
}
