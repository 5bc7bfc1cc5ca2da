"""The routes, a file for each concern."""

from litestar.types import ControllerRouterHandler

from search_api.routes import (
    duplicates,
    embed,
    events,
    health,
    images,
    index,
    memory,
    metrics,
    pages,
    search,
    standing,
    state,
)

ROUTES: list[ControllerRouterHandler] = [
    *embed.ROUTES,
    *search.ROUTES,
    *images.ROUTES,
    *duplicates.ROUTES,
    *standing.ROUTES,
    *state.ROUTES,
    *events.ROUTES,
    *memory.ROUTES,
    *metrics.ROUTES,
    *index.ROUTES,
    *health.ROUTES,
    *pages.ROUTES,
]
