"""Errors on the wire (RFC 9457): one table from what is raised to what a client sees, and back.

What went wrong inside is logged, not told: only an `InputError` shows its own message, and only if that speaks of
the question rather than of files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from indexer.errors import (
    CapacityError,
    CheckpointMismatch,
    ConfigError,
    DeviceFailed,
    DeviceOutOfMemory,
    ImageRefused,
    IndexerError,
    InputError,
    ModelError,
    ModelUnavailable,
    NoTextTower,
    NotFound,
    NotTuned,
    Overloaded,
    Stopped,
    StoreCorrupt,
    StoreError,
    StoreFull,
)
from indexer.types import Reason

PROBLEM_TYPE = "application/problem+json"
RETRY_S = 5.0
"""When to come back, where whoever is too busy does not know any better."""
_URN = "urn:lookalike:problem:"


class Face(NamedTuple):
    """How an error looks from outside; `detail` stands in where its own message is not shown."""

    status: int
    slug: str
    title: str
    detail: str


FACES: dict[type[IndexerError], Face] = {
    NotFound: Face(404, "not-found", "No such image", "No live image has this id."),
    NotTuned: Face(404, "not-tuned", "Not tuned", "No batch was measured on this device with this model."),
    ImageRefused: Face(422, "image-refused", "Image refused", "The picture cannot be used."),
    NoTextTower: Face(422, "no-text-tower", "No text search", "The model in use has no text tower."),
    InputError: Face(
        422, "unprocessable", "Question cannot be answered", "The request cannot be answered as it was put."
    ),
    ModelUnavailable: Face(503, "model-unavailable", "Model unavailable", "The model's weights are not available."),
    CheckpointMismatch: Face(503, "model-unavailable", "Model unavailable", "The model's weights do not fit it."),
    ModelError: Face(503, "model-unavailable", "Model unavailable", "The model cannot be used at present."),
    StoreFull: Face(503, "store-full", "Store full", "The store has no room to write; searching still works."),
    StoreCorrupt: Face(503, "store-unavailable", "Store unavailable", "Stored data failed its check."),
    StoreError: Face(503, "store-unavailable", "Store unavailable", "The store cannot serve at present."),
    Overloaded: Face(503, "overloaded", "Too busy", "Too much is being asked at once; try again shortly."),
    DeviceOutOfMemory: Face(503, "device-memory", "Device out of memory", "The device has no memory for this now."),
    CapacityError: Face(503, "overloaded", "Too busy", "More was asked than fits now."),
    DeviceFailed: Face(503, "device-failed", "Device failed", "The device does not answer; it is being replaced."),
    Stopped: Face(503, "stopping", "Stopping", "The service is going down."),
    IndexerError: Face(500, "internal", "Internal error", "The request failed; the service's log tells why."),
}
"""Every kind that a request can meet. A kind that is not named looks like its base."""

REASON_STATUS = {
    Reason.UNSUPPORTED: 415,
    Reason.TOO_MANY_BYTES: 413,
    Reason.TOO_MANY_PIXELS: 413,
    Reason.UNREADABLE: 503,
    Reason.DEVICE_MEMORY: 503,
    Reason.DEVICE_FAILED: 503,
    Reason.NOT_STORABLE: 503,
}
"""Status of a refused picture; 422 for the reasons that are not named."""

STATUS_SLUGS = {
    400: ("bad-request", "Bad request"),
    401: ("unauthorised", "Key required"),
    403: ("forbidden", "Forbidden"),
    404: ("no-route", "Nothing here"),
    405: ("method-not-allowed", "Method not allowed"),
    408: ("timeout", "Too slow"),
    413: ("too-large", "Too large"),
    415: ("unsupported-type", "Unsupported content type"),
    421: ("wrong-host", "Wrong host"),
    422: ("unprocessable", "Question cannot be answered"),
    429: ("too-many-requests", "Too many requests"),
    431: ("headers-too-large", "Headers too large"),
    500: ("internal", "Internal error"),
    503: ("overloaded", "Too busy"),
}
"""Slug and title of what HTTP itself refuses."""


class Fault(msgspec.Struct, frozen=True):
    """One wrong value: where it stood, and what is wrong with it."""

    field: str
    message: str


class PartRefused(ImageRefused):
    """A picture that cannot be used, and where in the question it stood."""

    def __init__(self, error: ImageRefused, field: str) -> None:
        super().__init__(error.reason, error.detail)
        self.field = field


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as RFC 9457 has it.

    `type` names the kind for programs, `detail` says what to do. `errors` lists wrong values, `reason` tells why a
    picture was refused, and `request_id` finds the line in the service's log.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault] = []
    reason: str | None = None
    request_id: str | None = None
    retry_after_s: float | None = None
    ready: bool | None = None
    checks: dict[str, str] = {}

    @property
    def slug(self) -> str:
        """The kind's short name."""
        return self.type.removeprefix(_URN)

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with it."""
        retry_after_s = RETRY_S if self.retry_after_s is None and self.status == 503 else self.retry_after_s
        return {} if retry_after_s is None else {"retry-after": str(max(1, math.ceil(retry_after_s)))}


class Wording(NamedTuple):
    """How the clients of some paths expect an error: its type, that on the wire, and a problem put into it."""

    kind: type[msgspec.Struct]
    media_type: str
    of: Callable[[Problem], msgspec.Struct]


PROBLEM = Wording(Problem, PROBLEM_TYPE, lambda what: what)


def problem(status: int, detail: str, **members: Any) -> Problem:
    """A problem that HTTP itself has with a request."""
    slug, title = STATUS_SLUGS.get(status, ("http", "Request failed"))
    return Problem(_URN + slug, title, status, detail, **members)


def problem_of(error: IndexerError, request_id: str | None = None) -> Problem:
    """How an error of ours looks from outside."""
    face = next(FACES[kind] for kind in type(error).__mro__ if kind in FACES)
    status, detail, reason = face.status, face.detail, None
    errors: list[Fault] = []
    if isinstance(error, ImageRefused):
        status, reason = REASON_STATUS.get(error.reason, face.status), error.reason.value
        detail = f"{error.reason.value}: {public(error.detail, face.detail)}"
        errors = [Fault(error.field, detail)] if isinstance(error, PartRefused) else []
    elif isinstance(error, InputError):
        detail = public(str(error), face.detail)
    return Problem(
        _URN + face.slug,
        face.title,
        status,
        detail,
        errors=errors,
        reason=reason,
        request_id=request_id if status >= 500 else None,
        retry_after_s=error.retry_after_s if isinstance(error, Overloaded) else None,
    )


_INSIDE = re.compile(r"[\n\\<>]|(?:^|[\s'\"(:=])/|\b0x[0-9a-f]{4}")


def public(text: str, instead: str) -> str:
    """The text, unless it is empty or speaks of paths or objects."""
    return instead if not text or len(text) > 500 or _INSIDE.search(text) else text


def error_of(problem: Problem) -> IndexerError:
    """What a client raises for an answer; the counterpart of `problem_of`."""
    slug = problem.slug
    if problem.reason in set(Reason):
        return ImageRefused(Reason(problem.reason), problem.detail.removeprefix(f"{problem.reason}: "))
    if setting := {401: "api_key", 403: "admin_key", 421: "host"}.get(problem.status):
        return ConfigError(f"api.{setting}: {problem.detail}")
    if slug in ("overloaded", "too-many-requests"):
        return Overloaded(problem.detail, problem.retry_after_s or 1.0)
    kind = next((kind for kind, face in FACES.items() if face.slug == slug and kind is not ImageRefused), None)
    if kind is None:
        kind = NotFound if problem.status == 404 else InputError if problem.status < 500 else IndexerError
    return kind(problem.detail)
