"""OpenAI's embeddings, with pictures: also as Jina, infinity, NVIDIA NIM and vLLM take them.

Source: the OpenAI API reference (embeddings, models, errors); the other shapes as those servers document them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Annotated, Literal, NamedTuple, TypeVar

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from indexer.errors import NoTextTower
from indexer.ports import Engine
from indexer.types import Matrix
from search_api.answers import fingerprint
from search_api.bodies import IMAGES_ANYWHERE, ApiRequest, FaultError
from search_api.errors import Fault, Problem, Wording
from search_api.keys import QUESTION
from search_api.openapi import Records, refusals
from search_api.pictures import from_base64, placed
from search_api.queries import words
from search_api.responses import Json
from search_api.schemas import Base64
from search_api.service import Service
from search_api.settings import MAX_TEXT_CHARS

MAX_INPUTS = 2048
"""As many as OpenAI takes in one request."""

_TEXTS_AT_ONCE, _IMAGES_AT_ONCE = 256, 32
"""The others of one request wait, so that other requests get a turn."""

T = TypeVar("T")

_DATA_URI = re.compile(r"data:(image/|[^,\s]*;base64,)")


# ---------------------------------------------------------------- the wire


class ImageUrl(Struct, frozen=True):
    """A picture in a chat."""

    url: Annotated[str, Meta(description="A `data:` URI. What is elsewhere is not fetched.")]


class Part(Struct, frozen=True):
    """Exactly one of `text`, `image` and `image_url`."""

    text: Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] | None = None
    image: Base64 | None = None
    image_url: str | ImageUrl | None = None


class ChatMessage(Struct, frozen=True):
    """One turn of a chat."""

    content: Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] | list[Part]
    role: str = "user"


class EmbeddingsRequest(Struct, frozen=True):
    """Exactly one of `input` and `messages`. Members that are not named here are ignored."""

    input: (
        Annotated[
            str | list[str | Part],
            Meta(description="Words, or pictures as `data:` URIs, or parts; one or several. Token ids are not taken."),
        ]
        | None
    ) = None
    messages: Annotated[list[ChatMessage], Meta(description="A chat that holds one text or one picture.")] | None = None
    model: Annotated[str, Meta(description="Any name; the answer says which model it was.")] | None = None
    modality: (
        Annotated[
            Literal["text", "image"],
            Meta(description="What every string of `input` is; without it a `data:` URI is a picture, all else words."),
        ]
        | None
    ) = None
    encoding_format: Literal["float", "base64"] | None = None
    embedding_type: Annotated[Literal["float", "base64"], Meta(description="Jina's `encoding_format`.")] | None = None
    dimensions: (
        Annotated[int, Meta(ge=0, description="Only the model's own; 0 is the same as none.", examples=[1024])] | None
    ) = None


class Embedding(Struct, frozen=True):
    """The joint embedding of one input, unit length: texts and pictures are comparable."""

    index: Annotated[int, Meta(description="Which input it is of.")]
    embedding: Annotated[list[float] | str, Meta(description="Or float32, little-endian, in base64.")]
    object: Literal["embedding"] = "embedding"


class Usage(Struct, frozen=True):
    """How much was asked. No tokens are counted here: these are words, and a picture is none."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(Struct, frozen=True):
    """Embeddings in the order of the inputs."""

    data: list[Embedding]
    model: Annotated[str, Meta(examples=["ViT-H-14"])]
    usage: Usage
    object: Literal["list"] = "list"


class Model(Struct, frozen=True):
    """The model in use."""

    id: Annotated[str, Meta(examples=["ViT-H-14"])]
    dimensions: Annotated[int | None, Meta(description="Length of an embedding; null: texts cannot be embedded.")]
    space: Annotated[str, Meta(description="Fingerprint of the embedding space.", examples=["0123456789abcdef"])]
    created: Annotated[int, Meta(description="Not known.")] = 0
    owned_by: str = "lookalike"
    object: Literal["model"] = "model"


class ModelsAnswer(Struct, frozen=True):
    """All models: there is one."""

    data: list[Model]
    object: Literal["list"] = "list"


class OpenAIFault(Struct, frozen=True):
    """What is wrong; `param` names the wrong member, if one is."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIError(Struct, frozen=True):
    """An error as OpenAI's clients expect it."""

    error: OpenAIFault


def _error(what: Problem) -> OpenAIError:
    kind = "server_error" if what.status >= 500 else "invalid_request_error"
    known = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
    code = known.get(what.status) or what.reason or what.slug.replace("-", "_")
    return OpenAIError(OpenAIFault(what.detail, kind, what.errors[0].field or None if what.errors else None, code))


WORDING = Wording(OpenAIError, "application/json", _error)


# ---------------------------------------------------------------- what is asked


class _Input(NamedTuple):
    """Words, or a picture in base64, and where it stood."""

    field: str
    value: str
    is_image: bool


def _inputs(asked: EmbeddingsRequest) -> list[_Input]:
    """Everything to be embedded, in order.

    Raises:
        FaultError: Nothing, too much, or a part that is not one thing.
    """
    if (asked.input is None) == (asked.messages is None):
        raise FaultError([Fault("input", "Give exactly one of input and messages.")])
    inputs = _of_chat(asked.messages) if asked.messages is not None else _of_list(asked)
    if not inputs:
        raise FaultError([Fault("input", "There is nothing to embed.")])
    if len(inputs) > MAX_INPUTS:
        raise FaultError([Fault("input", f"{len(inputs)} inputs came, {MAX_INPUTS} are allowed in one request.")])
    return inputs


def _of_list(asked: EmbeddingsRequest) -> list[_Input]:
    given = [asked.input] if isinstance(asked.input, str) else asked.input or []
    inputs = []
    for i, each in enumerate(given):
        field = "input" if isinstance(asked.input, str) else f"input[{i}]"
        if isinstance(each, Part):
            inputs.append(_of_part(each, field))
        else:
            is_image = _DATA_URI.match(each) is not None if asked.modality is None else asked.modality == "image"
            inputs.append(_Input(field, each, is_image))
    return inputs


def _of_chat(messages: list[ChatMessage]) -> list[_Input]:
    """The one thing that a chat holds; empty words, which some clients send along with a picture, are nothing."""
    inputs = []
    for i, message in enumerate(messages):
        parts = [Part(text=message.content)] if isinstance(message.content, str) else message.content
        inputs += [_of_part(each, f"messages[{i}].content") for each in parts if each.text is None or each.text.strip()]
    if len(inputs) > 1:
        raise FaultError(
            [
                Fault(
                    "messages", "A chat gets one embedding, of one text or one picture; send several things as `input`."
                )
            ]
        )
    return inputs


def _of_part(part: Part, field: str) -> _Input:
    ways = {name: value for name in ("text", "image", "image_url") if (value := getattr(part, name)) is not None}
    if len(ways) != 1:
        raise FaultError([Fault(field, "Give exactly one of text, image and image_url.")])
    [(name, value)] = ways.items()
    return _Input(f"{field}.{name}", value.url if isinstance(value, ImageUrl) else value, name != "text")


# ---------------------------------------------------------------- what is answered


def _embeddings(service: Service, asked: EmbeddingsRequest) -> EmbeddingsAnswer:
    engine, settings = service.engine, service.settings
    joint = engine.dims[1]
    if joint is None:
        raise NoTextTower("The model in use has no space that texts and pictures share.")
    if asked.dimensions and asked.dimensions != joint:
        raise FaultError([Fault("dimensions", f"Embeddings have {joint} numbers here, and are not shortened.")])
    inputs = _inputs(asked)
    texts = [words(each.value, each.field) for each in inputs if not each.is_image]
    images = [
        (each.field, from_base64(each.value, settings.max_body_bytes, each.field)) for each in inputs if each.is_image
    ]
    rows = {
        False: _in_parts(engine.embed_texts, texts, _TEXTS_AT_ONCE),
        True: _in_parts(partial(_joint_of, engine), [data for _, data in images], _IMAGES_AT_ONCE),
    }
    in_base64 = "base64" in (asked.encoding_format, asked.embedding_type)
    with placed(lambda: images):
        data = [Embedding(i, _encoded(next(rows[each.is_image]), in_base64)) for i, each in enumerate(inputs)]
    n_words = sum(len(text.split()) for text in texts)
    return EmbeddingsAnswer(data, engine.space.model, Usage(n_words, n_words))


def _in_parts(embed: Callable[[list[T]], Iterable[Matrix]], inputs: list[T], n: int) -> Iterator[Matrix]:
    """One embedding (j,) for each, `n` inputs at once, as they are asked for."""
    for at in range(0, len(inputs), n):
        yield from embed(inputs[at : at + n])


def _joint_of(engine: Engine, images: list[bytes]) -> list[Matrix]:
    return [image.embedding for image in engine.embed_images(images) if image.embedding is not None]


def _encoded(row: Matrix, in_base64: bool) -> list[float] | str:
    """One embedding (j,) as numbers, or as OpenAI's clients ask for it unless told otherwise."""
    if in_base64:
        return base64.b64encode(row.astype("<f4").tobytes()).decode()
    numbers: list[float] = row.tolist()
    return numbers


_REFUSALS = refusals(413, 415, 422, wording=WORDING)


@post(
    "/v1/embeddings",
    status_code=200,
    tags=["dialects"],
    opt={IMAGES_ANYWHERE: True, QUESTION: True},
    responses=_REFUSALS,
)
async def openai_embeddings(request: ApiRequest, data: JSONBody[EmbeddingsRequest]) -> Json[EmbeddingsAnswer]:
    """Embed texts and pictures as OpenAI's clients ask for it. All embeddings are comparable with each other.

    `base_url` is this service's address with `/v1`, `api_key` its key, or anything where it has none. One input that
    cannot be used refuses the whole request, as there, and `param` names it.
    """
    service = request.service
    return await service.answer(lambda: _embeddings(service, data))


@get("/v1/models", tags=["dialects"], sync_to_thread=False, responses=refusals(wording=WORDING))
def openai_models(request: ApiRequest) -> Json[ModelsAnswer]:
    """List the model in use, as OpenAI's clients ask for it."""
    engine = request.service.engine
    return Json(ModelsAnswer([Model(engine.space.model, engine.dims[1], fingerprint(engine.space))]))


ROUTES = [openai_embeddings, openai_models]

_DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_DOT_URI = f"data:image/png;base64,{_DOT}"

RECORDS: Records = {
    EmbeddingsRequest: [
        {"model": "ViT-H-14", "input": ["a red car", _DOT_URI]},
        {"input": [{"text": "a red car"}, {"image": _DOT}], "encoding_format": "base64"},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _DOT_URI}}]}]},
    ],
    EmbeddingsAnswer: [
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}],
            "model": "ViT-H-14",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }
    ],
    ModelsAnswer: [
        {
            "object": "list",
            "data": [
                {
                    "object": "model",
                    "id": "ViT-H-14",
                    "dimensions": 1024,
                    "space": "0123456789abcdef",
                    "created": 0,
                    "owned_by": "lookalike",
                }
            ],
        }
    ],
    OpenAIError: [],
}
