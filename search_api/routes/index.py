"""Orders to the index. They are taken at once and carried out in the background."""

from __future__ import annotations

from litestar import post
from litestar.params import JSONBody

from search_api.answers import progress_answer
from search_api.bodies import ApiRequest
from search_api.openapi import refusals
from search_api.responses import Json
from search_api.schemas import AcceptedAnswer, ProgressAnswer, RebuildRequest, RescanRequest, VerifyRequest


@post("/api/index/rescan", status_code=202, tags=["index"], responses=refusals(403, 413, 415, 422))
async def rescan(request: ApiRequest, data: JSONBody[RescanRequest | None] = None) -> Json[AcceptedAnswer]:
    """Compare the watched folders with what is known, now."""
    service = request.service
    confirm_gone = data is not None and data.confirm_gone
    await service.call(lambda: service.engine.rescan(confirm_gone=confirm_gone))
    return Json(AcceptedAnswer("accepted"))


@post("/api/index/rebuild", status_code=202, tags=["index"], responses=refusals(403, 413, 415, 422))
async def rebuild(request: ApiRequest, data: JSONBody[RebuildRequest | None] = None) -> Json[ProgressAnswer]:
    """Make the index anew from what is stored; `/api/stats` shows how far it is. One that runs already is joined."""
    service = request.service
    reencode = data is not None and data.reencode
    return await service.answer(lambda: progress_answer(service.engine.rebuild(reencode=reencode)))


@post("/api/index/verify", status_code=202, tags=["index"], responses=refusals(403, 413, 415, 422))
async def verify(request: ApiRequest, data: JSONBody[VerifyRequest | None] = None) -> Json[ProgressAnswer]:
    """Compare catalogue, features, index and files; `/api/stats` shows how far it is, and then what it found.

    Searches go on meanwhile. One that runs already is joined.
    """
    service = request.service
    asked = data or VerifyRequest()
    engine = service.engine
    return await service.answer(lambda: progress_answer(engine.verify(sample=asked.sample, repair=asked.repair)))


ROUTES = [rescan, rebuild, verify]
