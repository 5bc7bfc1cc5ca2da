"""What happens, as it happens."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get
from litestar.params import QueryParameter

from indexer.errors import Overloaded
from indexer.types import TOPICS
from search_api.bodies import ApiRequest, FaultError
from search_api.errors import Fault
from search_api.events import EventStream
from search_api.openapi import EventFeed, refusals

ALL: Final = ",".join(TOPICS)

Topics = Annotated[
    str,
    QueryParameter(
        max_length=200,
        description="Which topics, with commas between: `index` (what was added or removed), `queue` and `gpu` (each "
        "second), `match` (of a standing query).",
        schema_extra={"examples": [ALL]},
    ),
]


@get(
    "/api/events",
    tags=["state"],
    responses=refusals(422),
    operation_class=EventFeed,
    media_type="text/event-stream",
)
async def events(request: ApiRequest, topics: Topics = ALL) -> EventStream:
    """Server-sent events, each topic's state first. A client that falls behind is let go, and may come again."""
    asked = list(dict.fromkeys(topics.split(",")))
    unknown = [topic for topic in asked if topic not in TOPICS]
    if unknown:
        raise FaultError([Fault("topics", f"There is no topic {unknown[0]!r}; there are {', '.join(TOPICS)}.")])
    if request.service.n_listeners >= request.service.settings.max_listeners:
        raise Overloaded("Too many listen to events already; try again later.", retry_after_s=10.0)
    return EventStream(request.service, asked, request.app.state.stopping)


ROUTES = [events]
