"""Webhooks: signed, tried again, and never anybody's burden."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import queue
import threading
from collections.abc import Iterator

import pytest

from indexer.engine import webhook
from indexer.engine.webhook import SIGNATURE, Delivery, Webhooks, check_url, send
from indexer.errors import InputError

Received = tuple[str, bytes, str | None]


class Receiver:
    """A server on this machine that answers what it is told to."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.received: queue.SimpleQueue[Received] = queue.SimpleQueue()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                receiver.received.put((self.path, body, self.headers[SIGNATURE]))

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/here?a=1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_a_body_comes_signed(receiver: Receiver) -> None:
    send(Delivery(receiver.url, "secret", b'{"a": 1}'))
    path, body, signature = receiver.received.get(timeout=10)
    assert (path, body) == ("/here?a=1", b'{"a": 1}')
    assert signature == "sha256=" + hmac.new(b"secret", body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_is_not_taken_is_tried_again_and_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    receiver.statuses = [status, status]
    webhooks = Webhooks(waits_s=(0.01, 0.01))
    webhooks.offer(Delivery(receiver.url, "secret", b"{}"))
    assert [receiver.received.get(timeout=10)[0] for _ in range(3)] == ["/here?a=1"] * 3
    webhooks.close()
    assert (webhooks.n_failed, receiver.received.empty()) == (0, True)


def test_who_never_takes_it_is_given_up_and_the_others_are_served() -> None:
    tried: queue.SimpleQueue[str] = queue.SimpleQueue()

    def post(delivery: Delivery) -> None:
        tried.put(delivery.url)
        if delivery.url == "bad":
            raise OSError("no")

    webhooks = Webhooks(post, waits_s=(0.0, 0.0))
    webhooks.offer(Delivery("bad", "", b""))
    webhooks.offer(Delivery("good", "", b""))
    assert sorted(tried.get(timeout=10) for _ in range(4)) == ["bad", "bad", "bad", "good"]
    webhooks.close()
    assert webhooks.n_failed == 1


def test_offering_never_waits_and_the_waiting_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "MOST_WAITING", 2)
    entered, go_on = threading.Event(), threading.Event()

    def post(_delivery: Delivery) -> None:
        entered.set()
        go_on.wait(10)

    webhooks = Webhooks(post)
    webhooks.offer(Delivery("", "", b""))
    assert entered.wait(10)
    for _ in range(3):
        webhooks.offer(Delivery("", "", b""))
    assert webhooks.n_failed == 1
    go_on.set()
    webhooks.close()


@pytest.mark.parametrize("url", ["https://example.org/x", "http://127.0.0.1:9/x", "http://[::1]/", "http://localhost"])
def test_https_and_this_machine_are_taken(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    ["http://example.org", "http://10.0.0.1/", "ftp://a/", "file:///etc/passwd", "https://", "", "https://u:p@h/",
     "http://127.0.0.1:99999/", "http://[", "https://h/\n"],
)  # fmt: skip
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="webhook"):
        check_url(url)


def test_plain_http_to_others_must_be_allowed() -> None:
    check_url("http://example.org/", plain=True)
