"""What is typed is read as it was meant, or refused where it goes wrong."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.cli.grammar import GrammarError, Words, parse_question, parse_where


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a red car", [Words("a red car")]),
        ("2*golden retriever - fruit", [Words("golden retriever", 2), Words("fruit", -1)]),
        ("beach + .5* dog -2*people", [Words("beach"), Words("dog", 0.5), Words("people", -2)]),
        ("- rain", [Words("rain", -1)]),
        ("t-shirt c++ 5*", [Words("t-shirt c++ 5*")]),
        ('"a - b" + "2*x"', [Words("a - b"), Words("2*x")]),
        (r'3*"say \"no\" \\"', [Words('say "no" \\', 3)]),
        ('5" disk', [Words('5" disk')]),
        ("  spaced  out  ", [Words("spaced  out")]),
    ],
)
def test_a_question_is_read_as_its_parts(text: str, parts: list[Words]) -> None:
    assert parse_question(text) == parts


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("", 0, "missing"),
        ("  ", 2, "missing"),
        ("dog -", 5, "missing"),
        ("dog + - cat", 6, "missing"),
        ("2*", 2, "missing"),
        ('dog - ""', 6, "missing"),
        ("dog - 0*cat", 6, "weight"),
        ("99999999*cat", 0, "weight"),
        ('dog - "cat', 6, "no end"),
        ('"dog" cat', 6, "after what is quoted"),
    ],
)
def test_a_question_that_cannot_be_read_says_where(text: str, at: int, said: str) -> None:
    with pytest.raises(GrammarError, match=said) as e:
        parse_question(text)
    assert e.value.at == at
    assert f"at character {at + 1}" in str(e.value)


def written(part: Words) -> str:
    weight = "" if abs(part.weight) == 1 else f"{Decimal(repr(abs(part.weight))):f}*"
    quoted = '"' + part.text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return ("- " if part.weight < 0 else "+ ") + weight + quoted


texts = st.text(min_size=1, max_size=12).filter(str.strip)
weights = st.floats(1e-4, 1e6) | st.floats(-1e6, -1e-4) | st.sampled_from([1.0, -1.0])
parts = st.lists(st.builds(Words, texts, weights), min_size=1, max_size=5)


@given(parts=parts)
def test_what_is_written_is_read_back(parts: list[Words]) -> None:
    assert parse_question(" ".join(map(written, parts))) == parts


@given(text=st.text(alphabet='ab+-* "2\\.\t', max_size=15))
def test_anything_is_read_or_refused_inside_it(text: str) -> None:
    try:
        assert parse_question(text)
    except GrammarError as e:
        assert 0 <= e.at <= len(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("path:holiday/** after:2025-01-01", {"path": ["holiday/**"], "modified_from": "2025-01-01"}),
        ('path:"my photos" path:b -path:*.gif', {"path": ["my photos", "b"], "not_path": ["*.gif"]}),
        ("before:2025-01-01", {"modified_to": "2024-12-31T23:59:59.999999+00:00"}),
        ("width:10.. height:..20", {"width_min": 10, "height_max": 20}),
        ("mp:1.5..2", {"megapixels_min": 1.5, "megapixels_max": 2}),
        ("width:640", {"width_min": 640, "width_max": 640}),
        ("size:500kB..2MiB", {"size_min_bytes": 500_000, "size_max_bytes": 2 << 20}),
        ("format:jpeg,png", {"format": ["jpeg", "png"]}),
        ("", {}),
    ],
)  # fmt: skip
def test_a_filter_is_read_as_the_wires_members(text: str, where: dict[str, Any]) -> None:
    assert parse_where(text) == where


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("holiday", 0, "key:value"),
        ("path:a colour:red", 7, "no filter 'colour'"),
        ("path:", 5, "value is missing"),
        ("width:big", 6, "whole number"),
        ("width:..", 6, "at least one end"),
        ("mp:nan", 3, "no number"),
        ("size:3zB", 5, "no size"),
        ("after:tomorrow", 6, "2025-01-31"),
        ("before:0001-01-01", 7, "nothing is before"),
        ("width:1 width:2", 8, "twice"),
        ('path:"a', 5, "no end"),
        ('path:"a"b', 8, "after what is quoted"),
    ],
)
def test_a_filter_that_cannot_be_read_says_where(text: str, at: int, said: str) -> None:
    with pytest.raises(GrammarError, match=said) as e:
        parse_where(text)
    assert e.value.at == at
