"""Bodies of requests, and JSON decoded straight into its type."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec
from litestar import Request
from litestar.exceptions import ClientException, HTTPException
from litestar.types import Empty, HTTPRequestEvent, Receive

from indexer.errors import InputError
from search_api.errors import Fault
from search_api.service import Service

T = TypeVar("T")

UNTYPED = "untyped"
"""Option of a route: its JSON need not say that it is JSON."""
IMAGES_ANYWHERE = "images_anywhere"
"""Option of a route: pictures in base64 may stand anywhere in its JSON, not only in its member `image`."""

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


class FaultError(InputError):
    """Values that were understood and are wrong."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(
            "; ".join(f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults)
        )
        self.faults = faults


class ApiRequest(Request[Any, Any, Any]):
    """A request that knows the service. Its body is read in one go, and JSON goes straight into its type."""

    @property
    def service(self) -> Service:
        """The service that is asked."""
        return cast("Service", self.app.state.service)

    async def body(self) -> bytes:
        """The whole body."""
        if self._body is Empty:
            self._body = await read_body(self.receive)
        return self._body

    async def json(self) -> Any:
        """The body as the type of the handler's `data`: strict, and no deeper than the type is."""
        options = self.route_handler.opt
        kind = self.content_type[0]
        is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
        if not is_json and not options.get(UNTYPED):
            raise HTTPException(status_code=415, detail="Send JSON as Content-Type: application/json.")
        field = self.route_handler.parsed_data_field
        body = await self.body()
        most = self.service.settings.max_json_bytes
        if len(body) > most:
            (_only_base64_is_large if options.get(IMAGES_ANYWHERE) else _only_an_image_is_large)(body, most)
        return decode(body, field.annotation if field else Any)


async def read_body(receive: Receive) -> bytes:
    """A whole body; the gate limits and counts it."""
    parts = []
    more = True
    while more:
        message = cast("HTTPRequestEvent", await receive())
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


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
    """Where pictures are, unread: a huge list must not become objects before it is known to be allowed."""

    image: msgspec.Raw = msgspec.Raw()
    query: msgspec.Raw = msgspec.Raw()


def _only_an_image_is_large(body: bytes, most: int) -> None:
    known = decode(body, _Envelope)
    mixture = bytes(known.query)  # as below: its pictures do not count, the number of its values does
    n_free = len(memoryview(known.image)) + len(mixture) - len(mixture.translate(None, _BASE64))
    if len(body) - n_free > most:
        raise HTTPException(status_code=413, detail=f"JSON may have {most} bytes, not counting a picture.")


def _only_base64_is_large(body: bytes, most: int) -> None:
    """Every value costs a byte that is not base64: so their number is bounded before any of them becomes an object."""
    if len(body.translate(None, _BASE64)) > most:
        raise HTTPException(status_code=413, detail=f"JSON may have {most} bytes, not counting pictures.")
