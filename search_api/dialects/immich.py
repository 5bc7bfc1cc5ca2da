"""immich's machine learning, as far as it is CLIP: this service can be set as one of its machine-learning URLs.

Source: immich, `machine-learning/immich_ml/main.py` and `server/src/repositories/machine-learning.repository.ts`.
immich sends no key, so it can use a service without one only.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from litestar import MediaType, Response, get, post
from litestar.exceptions import ClientException, HTTPException
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from msgspec import Struct

from indexer.errors import NoTextTower, NotFound
from indexer.ports import Engine
from indexer.types import ImageInfo
from search_api.bodies import ApiRequest, FaultError, decode
from search_api.errors import Fault, Wording
from search_api.keys import QUESTION
from search_api.openapi import Records, refusals
from search_api.pictures import checked, form_fields
from search_api.queries import words
from search_api.responses import Json
from search_api.settings import MAX_TEXT_CHARS, ApiSettings

_FIELDS = frozenset({"entries", "image", "text"})
_EXAMPLE = '{"clip":{"visual":{"modelName":"ViT-H-14__laion2b-s32b-b79k"}}}'


# ---------------------------------------------------------------- the wire


class Entry(Struct, frozen=True, rename="camel"):
    """One model that is asked. Its name is not looked at; options are ignored."""

    model_name: str


class PredictAnswer(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The joint embedding, and of an indexed picture its measures in pixels, EXIF-upright."""

    clip: str
    """A JSON array."""
    image_height: int | None = None
    image_width: int | None = None


class Greeting(Struct, frozen=True):
    """What `GET /` says to programs."""

    message: str = "Immich ML"


class ImmichError(Struct, frozen=True):
    """An error as immich's machine learning words it."""

    detail: str


WORDING = Wording(ImmichError, "application/json", lambda what: ImmichError(what.detail))


@dataclass
class PredictForm(Operation):
    """An operation whose body is immich's form."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING, max_length=MAX_TEXT_CHARS)
        entries = Schema(type=OpenAPIType.STRING, description="JSON.", examples=[_EXAMPLE])
        image = Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream")
        form = Schema(
            type=OpenAPIType.OBJECT,
            properties={"entries": entries, "image": image, "text": text},
            required=["entries"],
        )
        self.request_body = RequestBody(
            description="`entries` asks `clip` for `visual`, then `image` is needed, or for `textual`, then `text`.",
            content={"multipart/form-data": OpenAPIMediaType(schema=form)},
            required=True,
        )


# ---------------------------------------------------------------- the work


def _is_visual(entries: bytes, settings: ApiSettings) -> bool:
    """Whether a picture is to be embedded; else it is a text.

    Raises:
        FaultError: Anything else is asked, or nothing that can be understood.
    """
    if len(entries) > settings.max_json_bytes:
        raise HTTPException(status_code=413, detail=f"JSON may have {settings.max_json_bytes} bytes.")
    try:
        asked = decode(entries, dict[str, dict[str, Entry]])
    except (ClientException, FaultError):
        raise FaultError([Fault("entries", f"It must be JSON like {_EXAMPLE}.")]) from None
    others = sorted(asked.keys() - {"clip"})
    if others:
        raise FaultError([Fault("entries", f"Only the task clip is done here, not {others[0][:40]}.")])
    kinds = set(asked.get("clip", ()))
    if len(kinds) != 1 or not kinds <= {"visual", "textual"}:
        raise FaultError([Fault("entries", "Ask clip for exactly one of visual and textual.")])
    return kinds == {"visual"}


def _image_answer(engine: Engine, data: bytes) -> PredictAnswer:
    [image] = engine.embed_images([data])
    if image.embedding is None:
        raise NoTextTower("The model in use has no space that texts and pictures share.")
    info = _info(engine, image.id)
    measures = (info.height_px, info.width_px) if info else ()
    return PredictAnswer(_array(image.embedding.tolist()), *measures)


def _info(engine: Engine, id: str) -> ImageInfo | None:
    try:
        return engine.image(id).info
    except NotFound:
        return None


def _array(numbers: list[float]) -> str:
    return msgspec.json.encode(numbers).decode()


def _words(given: bytes) -> str:
    try:
        text = given.decode()
    except UnicodeDecodeError:
        raise FaultError([Fault("text", "It is not UTF-8.")]) from None
    return words(text, "text")


# ---------------------------------------------------------------- the routes


@post(
    "/predict",
    status_code=200,
    tags=["dialects"],
    opt={QUESTION: True},
    operation_class=PredictForm,
    responses=refusals(413, 415, 422, wording=WORDING),
)
async def immich_predict(request: ApiRequest) -> Json[PredictAnswer]:
    """Embed a picture or a text as immich asks for it. Other tasks, such as faces, are refused."""
    service = request.service
    kind, options = request.content_type
    if kind != "multipart/form-data":
        raise HTTPException(status_code=415, detail="Send multipart/form-data with `entries`, and `image` or `text`.")
    fields = form_fields(await request.body(), options.get("boundary", ""), _FIELDS)
    if "entries" not in fields:
        raise FaultError([Fault("entries", "The form has no field of this name.")])
    visual = _is_visual(fields["entries"], service.settings)
    if "image" not in fields and "text" not in fields:
        raise ClientException("Either image or text must be provided")
    needed = "image" if visual else "text"
    if needed not in fields:
        raise FaultError([Fault(needed, "The form has no field of this name.")])
    engine = service.engine
    if visual:
        data = checked(fields["image"], service.settings.max_body_bytes)
        return await service.answer(lambda: _image_answer(engine, data))
    text = _words(fields["text"])
    return await service.answer(lambda: PredictAnswer(_array(engine.embed_texts([text])[0].tolist())))


@get(
    "/ping",
    tags=["dialects"],
    sync_to_thread=False,
    media_type=MediaType.TEXT,
    responses=refusals(wording=WORDING),
)
def immich_ping() -> Response[str]:
    """Say that the service is there, as immich asks for it."""
    return Response("pong", media_type=MediaType.TEXT)


def asks_for_no_page(accept: str | None) -> bool:
    """Whether a client says what it takes, and a page is not among it: then `GET /` greets it as immich's would."""
    kinds = (accept or "*/*").lower()
    return not any(kind in kinds for kind in ("text/html", "text/*", "*/*", "application/xhtml+xml"))


ROUTES = [immich_predict, immich_ping]
PATHS = ("/predict", "/ping")

RECORDS: Records = {
    PredictAnswer: [{"clip": "[0.6,0.8]", "imageHeight": 480, "imageWidth": 640}],
    ImmichError: [],
}
