"""What goes to stdout is data, whatever files are called."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.cli.terminal import print_bytes, print_facts, print_json, print_rows, printable


@given(st.text())
def test_printable_text_holds_no_control_character(text: str) -> None:
    assert printable(text).isprintable()


def test_printable_text_stays_as_it_is() -> None:
    assert printable("/photos/ Ünïcode 猫.jpg") == "/photos/ Ünïcode 猫.jpg"


def test_a_name_that_would_steer_a_terminal_is_escaped() -> None:
    assert printable("a\x1b[2Jb\nc\td") == r"a\x1b[2Jb\nc\td"


def test_rows_are_tab_separated_lines_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(("score", "path"), [("0.5", "/a\tb\n[red]c")])
    assert capsys.readouterr().out == "0.5\t/a\\tb\\n[red]c\n"


def test_facts_are_tab_separated_lines_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts([("model", "demo"), ("files", "3")])
    assert capsys.readouterr().out == "model\tdemo\nfiles\t3\n"


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"path": "/ä\udce4\n", "n": 1}  # a lone surrogate, as `os.fsdecode` makes it
    print_json(value)
    assert json.loads(capsys.readouterr().out) == value


def test_bytes_are_written_as_they_are(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_bytes([b"/a\xff", b"/b\n"], end=b"\0")
    assert capfdbinary.readouterr().out == b"/a\xff\0/b\n\0"
