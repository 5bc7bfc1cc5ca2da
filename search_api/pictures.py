"""Pictures in requests: as the body itself, as a form field, or in base64."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import msgspec
from litestar.exceptions import ClientException, HTTPException
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from multipart import (  # type: ignore[import-untyped]  # has no types
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
)

from indexer.errors import ImageRefused
from indexer.types import Reason, content_hash
from search_api.bodies import ApiRequest, FaultError, read_body
from search_api.errors import Fault, PartRefused
from search_api.responses import send_json
from search_api.service import Service

_RAW_TYPES = (b"", b"application/octet-stream", b"application/x-www-form-urlencoded")
"""Besides image/*. The last is what `curl --data-binary` says unless told otherwise."""


def raw_upload(work: Callable[[Service, bytes], msgspec.Struct]) -> Callable[[ASGIApp], ASGIApp]:
    """Middleware for a route that takes pictures: answers the plainest uploads itself.

    A picture as the body, with no parameters, needs nothing of what is done for other requests, and that would cost as
    much as all the rest. Everything else goes on to the route's handler.

    Args:
        work: What the handler does with the picture's bytes, in a thread.
    """

    def wrap(app: ASGIApp) -> ASGIApp:
        async def upload(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["query_string"] or not _is_raw(_content_type(scope)):
                await app(scope, receive, send)
                return
            service: Service = scope["litestar_app"].state.service
            data = checked(await read_body(receive), service.settings.max_body_bytes)
            await send_json(send, await service.call(lambda: msgspec.json.encode(work(service, data))))

        return upload

    return wrap


async def read_image(request: ApiRequest, most_bytes: int) -> bytes:
    """The picture in a request: the body itself, or the form field `image`.

    Raises:
        ImageRefused: Nothing there, or more than `most_bytes`.
        HTTPException: Another content type, a broken form, or a form without the field.
    """
    if _is_raw(_content_type(request.scope)):
        return checked(await request.body(), most_bytes)
    kind, options = request.content_type
    if kind == "multipart/form-data":
        return checked(_form_image(await request.body(), options.get("boundary", "")), most_bytes)
    raise HTTPException(
        status_code=415,
        detail="Send the picture as the body (Content-Type: image/* or application/octet-stream) "
        "or as the field `image` of multipart/form-data.",
    )


def _content_type(scope: HTTPScope | Any) -> bytes:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bytes(value)
    return b""


def _is_raw(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip().lower()
    return kind in _RAW_TYPES or kind.startswith(b"image/")


def checked(data: bytes, most_bytes: int) -> bytes:
    """The data, if its size is fit for a picture."""
    if not data:
        raise ImageRefused(Reason.EMPTY, "no bytes came")
    if len(data) > most_bytes:
        raise ImageRefused(Reason.TOO_MANY_BYTES, f"{len(data)} bytes came, {most_bytes} are allowed")
    return data


def _form_image(body: bytes, boundary: str) -> bytes:
    fields = form_fields(body, boundary, frozenset({"image"}))
    if "image" not in fields:
        _fault("image", "The form has no field of this name.")
    return fields["image"]


def form_fields(body: bytes, boundary: str, names: frozenset[str]) -> dict[str, bytes]:
    """Those fields of a form that have one of these names; others are not kept.

    Raises:
        ClientException: Not such a form.
        FaultError: Two fields of one name.
    """
    fields: dict[str, list[bytes]] = {}
    wanted: list[bytes] | None = None
    try:
        with PushMultipartParser(boundary, max_segment_count=8) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    if event.name in fields:
                        _fault(event.name, "The form has several fields of this name; send one.")
                    wanted = fields.setdefault(event.name, []) if event.name in names else None
                elif event and wanted is not None:
                    wanted.append(event)
    except (MultipartError, UnicodeError) as e:
        raise ClientException("The body is not valid multipart/form-data.") from e
    return {name: b"".join(chunks) for name, chunks in fields.items()}


def from_base64(text: str, most_bytes: int, field: str = "image") -> bytes:
    """A picture in base64, plain or as a `data:` URI; line breaks are allowed, as `base64` writes them.

    Raises:
        FaultError: Not base64.
        ImageRefused: Nothing in it, or more than `most_bytes`.
    """
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            _fault(field, "A data URI must look like data:image/jpeg;base64,…")
    elif "://" in text[:16]:
        _fault(field, "URLs are not fetched; send the bytes in base64.")
    try:
        data = binascii.a2b_base64("".join(text.split()) if "\n" in text else text, strict_mode=True)
    except (binascii.Error, ValueError):
        _fault(field, "Not valid base64.")
    try:
        return checked(data, most_bytes)
    except ImageRefused as e:
        raise PartRefused(e, field) from e


@contextmanager
def placed(pictures: Callable[[], Iterable[tuple[str, bytes]]]) -> Iterator[None]:
    """Refusals inside the block say where in the question their picture stood; it is asked for fields and pictures."""
    try:
        yield
    except ImageRefused as e:
        for field, data in pictures() if e.hash is not None else ():
            if content_hash(data) == e.hash:
                raise PartRefused(e, field) from e
        raise


def _fault(field: str, message: str) -> NoReturn:
    raise FaultError([Fault(field, message)])
