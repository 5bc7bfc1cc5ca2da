"""Fields that several requests and answers have."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from search_api.settings import MAX_IDS, MAX_LIMIT, MAX_OFFSET, MAX_TEXT_CHARS, MAX_WEIGHT

EXAMPLE_ID = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
Text = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_TEXT_CHARS, description="Words that describe a picture.", examples=["a red car"]),
]
ImageId = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{64}$",
        max_length=64,
        description="SHA-256 of the picture's file, as `sha256sum` prints it.",
        examples=[EXAMPLE_ID],
    ),
]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="How many hits.", examples=[20])]
Offset = Annotated[int, Meta(ge=0, le=MAX_OFFSET, description="How many hits to skip.", examples=[0])]
Vector = Annotated[
    list[float],
    Meta(
        min_length=1,
        max_length=65_536,
        description="A vector of the visual or of the joint space, told apart by length; any norm but zero.",
    ),
]
Base64 = Annotated[
    str,
    Meta(min_length=1, description="A picture's file in base64, or as a `data:` URI.", examples=["/9j/4AAQSkZJRg=="]),
]
Path = Annotated[str, Meta(description="One of its files.", examples=["/pictures/car.jpg"])]
Paths = Annotated[
    list[str],
    Meta(description="All its files, sorted; those that fit `where` first.", examples=[["/pictures/car.jpg"]]),
]
Pixels = Annotated[int, Meta(description="Pixels, EXIF-upright.", examples=[640])]
Format = Annotated[str, Meta(examples=["jpeg"])]
Bytes = Annotated[int, Meta(description="Bytes.", examples=[86_000])]
Time = Annotated[str, Meta(description="RFC 3339, UTC.", examples=["2026-11-22T12:00:00Z"])]
ThumbnailUrl = Annotated[str, Meta(examples=[f"/api/images/{EXAMPLE_ID}/thumbnail"])]
Weight = Annotated[float, Meta(ge=-MAX_WEIGHT, le=MAX_WEIGHT, description="Below zero: be unlike this.", examples=[1])]
Diversity = Annotated[
    float,
    Meta(
        ge=0, le=1, description="0: by score alone. Towards 1: unlike each other, among the best 1000.", examples=[0.3]
    ),
]
ScoreThreshold = Annotated[float, Meta(ge=-1.01, le=1.01, description="Least score of a hit.", examples=[0.2])]
Collapse = Annotated[
    Literal["content", "near"],
    Meta(
        description="`near`: near-duplicates are folded into the best of them, and counted as `n_alike`; "
        "the answer ends with the best 1000."
    ),
]
Cut = Annotated[Literal["auto"], Meta(description="End where hits stop being better than chance, see `cut_score`.")]
Pattern = Annotated[str, Meta(min_length=1, max_length=1000)]
Patterns = Annotated[
    Pattern | Annotated[list[Pattern], Meta(max_length=16)],
    Meta(
        description="Folders or globs, of which one must match; `**` crosses folders. From `/` on: of the whole path; "
        "with `/` inside: of the path in a watched folder; without: of any name in one. What lies in a folder that "
        "matches, matches.",
        examples=["holiday/**", ["/pictures/2025", "*.png"]],
    ),
]
When = Annotated[
    str,
    Meta(
        max_length=40,
        description="RFC 3339; without an offset in UTC. A date alone is the whole day.",
        examples=["2025-01-01", "2025-06-30T12:00:00Z"],
    ),
]
Least = Annotated[int, Meta(ge=0, le=2**53, description="At least.", examples=[1])]
Most = Annotated[int, Meta(ge=0, le=2**53, description="At most.", examples=[100_000])]
LeastShare = Annotated[float, Meta(ge=0, le=1e9, description="At least.", examples=[0.5])]
MostShare = Annotated[float, Meta(ge=0, le=1e9, description="At most.", examples=[50])]
ImageIds = Annotated[list[ImageId], Meta(max_length=MAX_IDS, description=f"Up to {MAX_IDS} pictures.")]
