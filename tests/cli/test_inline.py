"""Pictures are drawn only where the terminal says that it can."""

from __future__ import annotations

import base64
import re
import zlib

import numpy as np
import pytest

from indexer.cli.inline import drawn, protocol_of
from indexer.images.jpeg import encode, whole


@pytest.mark.parametrize(
    ("environment", "is_terminal", "expected"),
    [
        ({"TERM": "xterm-kitty"}, True, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, True, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, True, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, True, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "mintty"}, True, "iterm"),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "240802"}, True, "iterm"),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "211203"}, True, None),
        ({"TERM": "xterm-kitty"}, False, None),
        ({"TERM": "xterm-256color"}, True, None),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "iTerm.app"}, True, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, True, None),
        ({}, True, None),
    ],
)
def test_only_a_terminal_that_says_so_is_sent_pictures(
    environment: dict[str, str], is_terminal: bool, expected: str | None
) -> None:
    assert protocol_of(environment, is_terminal) == expected


def picture() -> bytes:
    return encode(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))


def test_iterm_is_sent_the_file_itself() -> None:
    match = re.fullmatch(
        rb"\x1b\]1337;File=inline=1;height=5;size=(\d+):([A-Za-z0-9+/=]+)\a\n", drawn(picture(), "iterm")
    )
    assert match is not None
    assert base64.b64decode(match[2]) == picture()
    assert int(match[1]) == len(picture())


def test_kitty_is_sent_pixels_in_chunks_of_which_the_last_says_so() -> None:
    sent = drawn(picture(), "kitty")
    chunks = re.findall(rb"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", sent)
    assert b"".join(b"\x1b_G%s;%s\x1b\\" % chunk for chunk in chunks) + b"\n" == sent
    assert chunks[0][0].startswith(b"a=T,f=24,o=z,q=2,r=5,s=60,v=40,m=1")
    assert [keys for keys, _ in chunks[1:]] == [b"m=1"] * (len(chunks) - 2) + [b"m=0"]
    assert all(len(data) <= 4096 for _, data in chunks)
    pixels = zlib.decompress(base64.b64decode(b"".join(data for _, data in chunks)))
    assert pixels == whole(picture()).tobytes()
