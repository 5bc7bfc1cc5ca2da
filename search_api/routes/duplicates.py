"""What is there more than once."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from litestar import get
from litestar.openapi import ResponseSpec
from litestar.params import QueryParameter

from indexer.types import Tier
from search_api.answers import duplicates_answer
from search_api.bodies import ApiRequest
from search_api.openapi import refusals
from search_api.responses import Json
from search_api.schemas import DuplicatesAnswer
from search_api.settings import MAX_LIMIT

AskedTier = Annotated[
    Literal["same", "variant", "similar"],
    QueryParameter(
        description="`same`: one picture that several files hold, byte for byte. `variant`: the same picture encoded "
        "again, resized or lightly cropped. `similar`: scenes that are alike."
    ),
]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="How many groups.")]
Offset = Annotated[int, QueryParameter(ge=0, le=2**31, description="How many groups to skip.")]

_SEARCHING: Final = {
    202: ResponseSpec(
        DuplicatesAnswer, description="The first search has not ended yet; ask again", generate_examples=False
    )
}


@get("/api/duplicates", tags=["images"], responses={**refusals(422), **_SEARCHING})
async def duplicates(
    request: ApiRequest, tier: AskedTier = "same", limit: Limit = 50, offset: Offset = 0
) -> Json[DuplicatesAnswer]:
    """Pictures that are there more than once, in groups; each tier tells what the one before does not.

    Variants and similar scenes are searched for in the background when the index has changed. Until the first search
    ends the answer is 202 without groups; later ones are answered from the search before, and `progress` says so.
    """
    service = request.service
    asked, most = Tier(tier), min(limit, service.settings.max_limit)

    def work() -> Json[DuplicatesAnswer]:
        page = service.engine.duplicates(asked, most, offset)
        return Json(duplicates_answer(page, asked, most, offset), 200 if page.known else 202)

    return await service.call(work)


ROUTES = [duplicates]
