"""Pictures in the terminal: kitty's graphics protocol and iTerm's inline images.

Sources: sw.kovidgoyal.net/kitty/graphics-protocol, iterm2.com/documentation-images.html.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Final, Literal

Protocol = Literal["kitty", "iterm"]

N_LINES: Final = 5
"""Height of a picture in the terminal."""
_CHUNK_BYTES: Final = 4096
_KONSOLE: Final = "220400"


def protocol_of(environment: Mapping[str, str], is_terminal: bool) -> Protocol | None:
    """How this terminal shows pictures, as far as it says so; None inside tmux and screen, which pass none on."""
    if not is_terminal or environment.get("TERM", "").startswith(("screen", "tmux")) or "TMUX" in environment:
        return None
    program = environment.get("TERM_PROGRAM", "")
    if environment.get("TERM") in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty") or environment.get("KONSOLE_VERSION", "") >= _KONSOLE:
        return "iterm"
    return None


def drawn(jpeg: bytes, protocol: Protocol) -> bytes:
    """What draws a small JPEG where the cursor is, `N_LINES` high, and a line's end."""
    if protocol == "iterm":
        return b"\x1b]1337;File=inline=1;height=%d;size=%d:%s\a\n" % (N_LINES, len(jpeg), b64encode(jpeg))
    from indexer.images.jpeg import whole

    pixels = whole(jpeg)
    height, width, _ = pixels.shape
    encoded = b64encode(zlib.compress(pixels.tobytes(), 1))
    chunks = [encoded[at : at + _CHUNK_BYTES] for at in range(0, len(encoded), _CHUNK_BYTES)]
    keys = b"a=T,f=24,o=z,q=2,r=%d,s=%d,v=%d," % (N_LINES, width, height)
    parts = []
    for i, chunk in enumerate(chunks):
        parts.append(b"\x1b_G%sm=%d;%s\x1b\\" % (b"" if i else keys, i < len(chunks) - 1, chunk))
    return b"".join(parts) + b"\n"
