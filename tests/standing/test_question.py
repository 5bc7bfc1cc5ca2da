"""What is kept of a standing query comes back as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.standing.question import from_json, to_json
from indexer.types import IdQuery, ImageQuery, MixedQuery, Range, StandingQuery, Term, TextQuery, VectorQuery, Where

numbers = st.floats(-1, 1)
plain = st.one_of(
    st.text().map(TextQuery),
    st.binary().map(ImageQuery),
    st.text().map(IdQuery),
    st.lists(numbers, max_size=4).map(VectorQuery),
)
texts = st.lists(st.text(), max_size=3).map(tuple)
mixed = st.builds(MixedQuery, st.lists(st.builds(Term, plain, numbers), max_size=3).map(tuple), texts, texts)
ranges = st.builds(Range, st.none() | numbers, st.none() | numbers)
wheres = st.builds(Where, path=texts, not_path=texts, modified_ns=ranges, width_px=ranges, aspect=ranges, format=texts)


@given(
    st.builds(
        StandingQuery,
        plain | mixed,
        numbers,
        st.text(),
        wheres,
        texts,
        st.none() | st.text(),
        st.text(),
        st.none() | st.text(),
        numbers,
        st.integers(0, 9),
    )
)
def test_any_question_comes_back(query: StandingQuery) -> None:
    assert from_json(json.loads(json.dumps(to_json(query)))) == query


@pytest.mark.parametrize("wrong", [{"sound": "x"}, {}, {"text": "a", "id": "b"}, {"image": "%"}])
def test_no_other_kind_of_question_is_read(wrong: dict[str, str]) -> None:
    told = to_json(StandingQuery(TextQuery("a"), 0.5, ""))
    with pytest.raises(ValueError):
        from_json({**told, "query": wrong})
