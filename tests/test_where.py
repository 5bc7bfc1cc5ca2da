"""Filters against a plain reading of what they say."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.errors import InputError
from indexer.ports import Catalogue
from indexer.types import FilePath, Found, Gone, ImageInfo, Range, Stamp, Where, content_hash
from indexer.where import Filter
from tests.fakes.catalogue import MemoryCatalogue

FOLDERS = [FilePath(b"/w"), FilePath(b"/v/x")]

folders = st.sampled_from([b"/w", b"/w/a", b"/w/a/b", b"/w/ab", b"/v/x", b"/v/x/a", b"/elsewhere/a", b"/w/\xff"])
names = st.sampled_from([b"a.jpg", b"b.png", b"a", b"ab", b"c\xe9.jpg", b"\xc3\xa9.png"])
paths = st.builds(lambda folder, name: FilePath(folder + b"/" + name), folders, names)
times = st.integers(0, 6) | st.sampled_from([2**63, 2**70, -(2**70)])
infos = st.builds(
    ImageInfo, st.sampled_from(["jpeg", "png", "gif"]), st.integers(1, 6), st.integers(1, 6), st.integers(0, 6)
)
stamps = st.builds(lambda time: Stamp(1, 1, 1, time, 1), times)
found = st.lists(st.tuples(paths, stamps, st.integers(0, 5)), max_size=14)

patterns = st.sampled_from(
    ["a", "a/", "*.jpg", "a/**", "**/b", "a/*", "/w/a", "/w/*/b/**", "/elsewhere", "./a", "?.png", "a*", "/w", "[ab]*",
     "*a*", "**/a/**/*b*", "*.*g", "**/a/*", "/**/b/*.jpg", "**", "a/**/b/**"]
)  # fmt: skip
bounds = st.none() | st.integers(0, 6)
ranges = st.builds(Range, bounds, bounds).filter(lambda r: r.least is None or r.most is None or r.least <= r.most)
shares = st.builds(Range, st.none() | st.sampled_from([0.5, 1.0, 1.5]), st.none() | st.sampled_from([2.0, 3.0]))
wheres = st.builds(
    Where,
    path=st.lists(patterns, max_size=2).map(tuple),
    not_path=st.lists(patterns, max_size=1).map(tuple),
    modified_ns=ranges,
    width_px=ranges,
    height_px=ranges,
    aspect=shares,
    megapixels=st.sampled_from([Range(), Range(6e-6, None), Range(None, 1e-5)]),
    size_bytes=st.sampled_from([Range(), Range(), Range(2, None)]),
    format=st.sampled_from([(), ("JPEG",), ("jpg", "png")]),
)


def matches(pattern: str, path: bytes) -> bool:
    """By hand: each prefix of the path against the pattern, part by part."""
    text = path.decode("utf-8", "surrogateescape")
    if pattern.startswith("/"):
        return below(pattern.strip("/").split("/"), text.strip("/").split("/"))
    for folder in FOLDERS:
        if path.startswith(folder + b"/"):
            parts = text[len(folder) + 1 :].split("/")
            plain = pattern.removeprefix("./").rstrip("/")
            if "/" not in pattern.rstrip("/"):
                return any(fnmatch.fnmatchcase(part, plain) for part in parts)
            return below(plain.split("/"), parts)
    return False


def below(pattern: list[str], parts: list[str]) -> bool:
    return any(whole(pattern, parts[:n]) for n in range(1, len(parts) + 1))


def whole(pattern: list[str], parts: list[str]) -> bool:
    if pattern == ["**"]:
        return bool(parts)
    if pattern[:1] == ["**"]:
        return any(whole(pattern[1:], parts[n:]) for n in range(len(parts) + 1))
    if not pattern or not parts:
        return pattern == parts
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and whole(pattern[1:], parts[1:])


def within(range: Range, value: float) -> bool:
    return (range.least is None or value >= range.least) and (range.most is None or value <= range.most)


def expected(where: Where, files: dict[FilePath, tuple[Stamp, int]], pictures: list[ImageInfo]) -> set[int]:
    """Numbers of the contents that fit."""
    formats = {"jpeg" if name.lower() == "jpg" else name.lower() for name in where.format}
    fit = set()
    for path, (stamp, n) in files.items():
        info = pictures[n]
        if (
            (not where.path or any(matches(each, path) for each in where.path))
            and not any(matches(each, path) for each in where.not_path)
            and within(where.modified_ns, stamp.mtime_ns)
            and within(where.width_px, info.width_px)
            and within(where.height_px, info.height_px)
            and within(where.size_bytes, info.size_bytes)
            and within(where.aspect, info.width_px / info.height_px)
            and within(where.megapixels, info.width_px * info.height_px / 1e6)
            and (not formats or info.format in formats)
        ):
            fit.add(n)
    return fit


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Catalogue]]:
    real = SqliteCatalogue.open(tmp_path_factory.mktemp("filters") / "catalogue.db")
    yield [real, MemoryCatalogue()]
    real.close()


@settings(max_examples=60)
@given(found=found, pictures=st.lists(infos, min_size=6, max_size=6), wheres=st.lists(wheres, min_size=3, max_size=8))
def test_a_filter_takes_exactly_what_it_says(
    catalogues: list[Catalogue],
    found: list[tuple[FilePath, Stamp, int]],
    pictures: list[ImageInfo],
    wheres: list[Where],
) -> None:
    files = {path: (stamp, n) for path, stamp, n in found}
    outcomes = [Found(path, stamp, content_hash(b"%d" % n), pictures[n]) for path, (stamp, n) in files.items()]
    for catalogue in catalogues:
        catalogue.commit([Gone(path) for path in catalogue.files_under(FilePath(b"/"))])
        ids = catalogue.commit(outcomes).ids
        numbers = {ids[content_hash(b"%d" % n)]: n for _, n in files.values()}
        for where in wheres:
            chosen = catalogue.matching(Filter(where, FOLDERS)).tolist()
            assert {numbers[id] for id in chosen} == expected(where, files, pictures), where
            assert chosen == sorted(set(chosen))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (Where(path=("a[",)), r"where.path: 'a\[' has a"),
        (Where(not_path=("/",)), "where.not_path: '/' names nothing"),
        (Where(path=("a/../b",)), "part"),
        (Where(path=("a**b",)), "stands alone"),
        (Where(path=("[\u0100-\u0400]" * 100,)), "too large"),
        (Where(path=("a\0",)), "character"),
        (Where(path=("a\ud800",)), "character"),
        (Where(format=("tga",)), "where.format: 'tga' is none of jpeg"),
        (Where(width_px=Range(5, 4)), "least width is above the most"),
        (Where(modified_ns=Range(5, 4)), "least modified"),
    ],
)
def test_a_filter_that_cannot_be_used_says_how_to_mend_it(where: Where, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Filter(where, FOLDERS)


def test_without_watched_folders_a_pattern_is_held_against_the_whole_path() -> None:
    assert Filter(Where(path=("a/*.jpg",))).takes_path(b"/a/b.jpg")
    assert Filter(Where(path=("*.jpg",))).takes_path(b"/x/y/b.jpg")


@pytest.mark.parametrize("pattern", ["*a" * 60 + "b", "**/*a*a*b/" * 20 + "c", "**/" * 300 + "b", "?*" * 200 + "b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    wanted = Filter(Where(path=(pattern,)), [FilePath(b"/w")])
    started = time.monotonic()
    for path in (b"/w/" + b"a" * 255, b"/w/" + b"aaaaaaaaab/" * 300 + b"a" * 255):
        assert not wanted.takes_path(path)
    assert time.monotonic() - started < 2
