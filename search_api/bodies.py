"""Bodies of requests: JSON decoded straight into its type, pictures raw, as a form field or in base64."""

from __future__ import annotations

import binascii
from typing import Any, ClassVar, NoReturn, TypeVar, cast

import msgspec
from litestar import Request
from litestar.exceptions import ClientException, HTTPException
from litestar.types import Empty, HTTPRequestEvent
from multipart import (  # type: ignore[import-untyped]  # has no types
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
)

from indexer.errors import ImageRefused, InputError
from indexer.types import Reason
from search_api.errors import Fault
from search_api.service import Service

T = TypeVar("T")

_RAW_TYPES = (b"", b"application/octet-stream", b"application/x-www-form-urlencoded")
"""Besides image/*. The last is what `curl --data-binary` says unless told otherwise."""


class FaultError(InputError):
    """Values that were understood and are wrong."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(
            "; ".join(f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults)
        )
        self.faults = faults


class ApiRequest(Request[Any, Any, Any]):
    """A request that knows the service. Its body is read in one go, and JSON goes straight into its type.

    Attributes:
        service: The service that is asked; each application has a subclass of its own with it.
    """

    service: ClassVar[Service]

    @property
    def raw_content_type(self) -> bytes:
        """The header in lower case, with its parameters; empty if there is none."""
        for name, value in self.scope["headers"]:
            if name == b"content-type":
                return value.lower()
        return b""

    async def body(self) -> bytes:
        """The whole body; the gate limits and counts it."""
        if self._body is Empty:
            parts = []
            more = True
            while more:
                message = cast("HTTPRequestEvent", await self.receive())
                parts.append(message.get("body", b""))
                more = message.get("more_body", False)
            self._body = b"".join(parts)
        return self._body

    async def json(self) -> Any:
        """The body as the type of the handler's `data`: strict, and no deeper than the type is."""
        kind = self.content_type[0]
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            raise HTTPException(status_code=415, detail="Send JSON as Content-Type: application/json.")
        field = self.route_handler.parsed_data_field
        body = await self.body()
        most = self.service.settings.max_json_bytes
        if len(body) > most:
            _only_an_image_is_large(body, most)
        return decode(body, field.annotation if field else Any)


def decode(body: bytes, type: type[T]) -> T:
    """JSON into its type.

    Raises:
        ClientException: Not JSON, or nested beyond all reason.
        FaultError: JSON of another shape.
    """
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.ValidationError as e:
        _well_formed(body)
        message, _, where = str(e).rpartition(" - at `$")
        raise FaultError([Fault(where.strip("`.") if message else "", message or where)]) from None
    except (RecursionError, msgspec.DecodeError, UnicodeError):
        _well_formed(body)
        raise ClientException("The body is not JSON.") from None


def _well_formed(body: bytes) -> None:
    """What is no JSON at all is a bad request, whichever wrong value comes first in it."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except RecursionError:
        raise ClientException("The JSON is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeError) as e:
        raise ClientException(f"The body is not JSON: {e}.") from None


class _Envelope(msgspec.Struct):
    """A picture, unread, and nothing else: a huge list must not become objects before it is known to be allowed."""

    image: msgspec.Raw = msgspec.Raw()


def _only_an_image_is_large(body: bytes, most: int) -> None:
    if len(body) - len(memoryview(decode(body, _Envelope).image)) > most:
        raise HTTPException(status_code=413, detail=f"JSON may have {most} bytes, not counting a picture.")


# ---------------------------------------------------------------- pictures


async def read_image(request: ApiRequest, most_bytes: int) -> bytes:
    """The picture in a request: the body itself, or the form field `image`.

    Raises:
        ImageRefused: Nothing there, or more than `most_bytes`.
        HTTPException: Another content type, a broken form, or a form without the field.
    """
    kind = request.raw_content_type
    if kind in _RAW_TYPES or kind.startswith(b"image/"):
        return checked(await request.body(), most_bytes)
    if kind.startswith(b"multipart/form-data"):
        _, options = request.content_type
        return checked(_form_image(await request.body(), options.get("boundary", "")), most_bytes)
    raise HTTPException(
        status_code=415,
        detail="Send the picture as the body (Content-Type: image/* or application/octet-stream) "
        "or as the field `image` of multipart/form-data.",
    )


def checked(data: bytes, most_bytes: int) -> bytes:
    """The data, if its size is fit for a picture."""
    if not data:
        raise ImageRefused(Reason.EMPTY, "no bytes came")
    if len(data) > most_bytes:
        raise ImageRefused(Reason.TOO_MANY_BYTES, f"{len(data)} bytes came, {most_bytes} are allowed")
    return data


def _form_image(body: bytes, boundary: str) -> bytes:
    parts: list[list[bytes]] = []
    wanted = False
    try:
        with PushMultipartParser(boundary, max_segment_count=8) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    wanted = event.name == "image"
                    parts.extend([[]] if wanted else [])
                elif event and wanted:
                    parts[-1].append(event)
    except (MultipartError, UnicodeError) as e:
        raise ClientException("The body is not valid multipart/form-data.") from e
    if len(parts) != 1:
        _fault("image", f"The form has {len(parts)} fields of this name; send one picture a request.")
    return b"".join(parts[0])


def from_base64(text: str, most_bytes: int) -> bytes:
    """A picture in base64, plain or as a `data:` URI; line breaks are allowed, as `base64` writes them.

    Raises:
        FaultError: Not base64.
        ImageRefused: Nothing in it, or more than `most_bytes`.
    """
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            _fault("image", "A data URI must look like data:image/jpeg;base64,…")
    elif "://" in text[:16]:
        _fault("image", "URLs are not fetched; send the bytes in base64.")
    try:
        data = binascii.a2b_base64("".join(text.split()) if "\n" in text else text, strict_mode=True)
    except (binascii.Error, ValueError):
        _fault("image", "Not valid base64.")
    return checked(data, most_bytes)


def _fault(field: str, message: str) -> NoReturn:
    raise FaultError([Fault(field, message)])
