"""Long tasks and other orders."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from search_api.schemas.fields import EXAMPLE_ID, Time
from search_api.settings import MAX_PATH_CHARS, MAX_SAMPLE


class RescanRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How to look through the folders."""

    confirm_gone: Annotated[
        bool, Meta(description="Let go of files whose loss is in doubt, as after a folder was unmounted.")
    ] = False


class RetryRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which refused files to try again; all of them by default."""

    path: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=MAX_PATH_CHARS,
                description="An absolute path of a file or a folder, as /api/errors shows it.",
                examples=["/pictures/car.jpg"],
            ),
        ]
        | None
    ) = None


class RebuildRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How to make the index anew."""

    reencode: Annotated[bool, Meta(description="Encode every picture again instead of using what is cached.")] = False


class VerifyRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How to look through what is stored."""

    sample: Annotated[
        int,
        Meta(ge=0, le=MAX_SAMPLE, description="Images to read and encode again, chosen at random.", examples=[32]),
    ] = 0
    repair: Annotated[bool, Meta(description="Mend what is found. No file of yours is touched.")] = False


class ProgressAnswer(Struct, frozen=True):
    """Where a long task stands."""

    task: Annotated[str, Meta(examples=["rebuild"])]
    running: bool
    n_done: int
    n_total: int
    rate_per_s: float
    eta_s: float | None
    summary: dict[str, int | float]
    error: str = ""


class FindingAnswer(Struct, frozen=True):
    """One thing that was not as it should be."""

    flaw: Annotated[str, Meta(description="As in `found`.", examples=["missing"])]
    what: Annotated[str, Meta(examples=["the index has no row"])]
    id: Annotated[str | None, Meta(description="Of the picture, if it is known.", examples=[EXAMPLE_ID])]
    vector_id: int | None
    path: Annotated[str | None, Meta(examples=["/pictures/car.jpg"])]
    mended: bool


class VerifyAnswer(Struct, frozen=True):
    """What the last verification looked at, found and mended."""

    ok: Annotated[bool, Meta(description="Nothing was found, or all of it was mended.")]
    started_at: Time
    seconds: float
    sample: Annotated[int, Meta(description="Images that were to be encoded again.", examples=[32])]
    repair: Annotated[bool, Meta(description="Whether findings were to be mended.")]
    files: Annotated[int, Meta(description="Recorded files held against the file system.")]
    contents: Annotated[int, Meta(description="Distinct pictures held against features and rows.")]
    features: Annotated[int, Meta(description="Features whose checksum was looked at.")]
    rows: Annotated[int, Meta(description="Rows of the index held against their features, bit for bit.")]
    kept: Annotated[int, Meta(description="Features kept of pictures that went away; no flaw.")]
    reencoded: Annotated[int, Meta(description="Images that were read and encoded again.")]
    found: Annotated[
        dict[str, int],
        Meta(
            description="Findings by flaw: `missing` (no feature or no row), `orphaned` (a row of no picture), `stale` "
            "(a file differs from what is recorded), `drifted` (a row, a feature or bytes changed), `damaged` (a "
            "checksum fails).",
            examples=[{"missing": 2}],
        ),
    ]
    mended: Annotated[dict[str, int], Meta(description="How many of them are mended.", examples=[{"missing": 2}])]
    examples: Annotated[list[FindingAnswer], Meta(description="A few of each flaw.")]
    notes: Annotated[list[str], Meta(description="What a person should know besides.")]


class RetryAnswer(Struct, frozen=True):
    """The files are on their way again."""

    n: Annotated[int, Meta(description="How many files are tried again.", examples=[3])]


class AcceptedAnswer(Struct, frozen=True):
    """It is done, or has begun."""

    status: Annotated[str, Meta(examples=["accepted"])]
