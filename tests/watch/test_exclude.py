"""Patterns say which names and paths are left out."""

from __future__ import annotations

import fnmatch
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import ConfigError
from indexer.types import FilePath
from indexer.watch.accept import Exclude

ROOT = FilePath(b"/data/photos")


def excluded(pattern: str, relative: str) -> bool:
    path = FilePath(ROOT + b"/" + os.fsencode(relative))
    exclude = Exclude([pattern], [ROOT])
    entry = exclude.excludes_entry(path, path.rpartition(b"/")[2])
    assert not entry or exclude.excludes(path)
    return exclude.excludes(path)


@pytest.mark.parametrize(
    ("pattern", "matched", "unmatched"),
    [
        (".*", [".git", "a/.hidden.jpg", ".git/objects/x.jpg"], ["a.jpg", "a/b.c/d.jpg"]),
        ("*.tmp", ["x.tmp", "a/b/x.tmp", "x.tmp/y.jpg", ".tmp"], ["x.TMP", "x.tmp2", "tmp"]),
        ("*~", ["a~", "b/a~"], ["~a"]),
        ("Thumbs.db", ["Thumbs.db", "a/Thumbs.db", "Thumbs.db/x"], ["thumbs.db", "aThumbs.db", "Thumbs.db2"]),
        ("cache/", ["cache", "cache/x", "a/cache/b/x"], ["cached", "a/mycache"]),
        ("IMG_?.jpg", ["IMG_1.jpg", "IMG_é.jpg", "IMG_\U0001f600.jpg", "IMG_\udcff.jpg"], ["IMG_12.jpg", "IMG_.jpg"]),
        ("??", ["ab", "éa", "日本"], ["é", "日", "a", "abc"]),
        ("[a-c]x", ["ax", "bx", "d/cx"], ["dx", "x", "Ax"]),
        ("[!a-c]x", ["dx", "éx"], ["ax", "x"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("[éü]x", ["éx", "üx"], ["ex", "x"]),
        ("[à-ü]x", ["éx"], ["ex"]),
        ("[!é]x", ["ax", "üx"], ["éx"]),
        ("[]]x", ["]x"], ["x", "[x"]),
        ("[a-]x", ["-x", "ax"], ["bx"]),
        ("a.b+c", ["a.b+c"], ["axb+c", "a.bbc"]),
        ("a\nb", ["a\nb", "c/a\nb"], ["a", "ab"]),
        ("drafts/old", ["drafts/old", "drafts/old/x.jpg"], ["drafts", "drafts/older", "a/drafts/old"]),
        ("/top.jpg", ["top.jpg", "top.jpg/a"], ["a/top.jpg", "xtop.jpg"]),
        ("/a/b", ["a/b", "a/b/c"], ["x/a/b"]),
        ("a/*/c", ["a/b/c", "a/b/c/d"], ["a/c", "a/b/b/c"]),
        ("a/**/c", ["a/c", "a/b/c", "a/b/b/c/d"], ["ac", "a/bc", "c"]),
        ("**/raw", ["raw", "a/raw", "a/b/raw/x"], ["a/raws", "araw"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a/b"]),
        ("a/b**z", ["a/bz", "a/b/c/z", "a/bxyz"], ["a/c/z"]),
        ("[+-9]x/y", ["+x/y", "5x/y"], ["/x/y", ":x/y"]),
    ],
)
def test_a_pattern_matches_these_and_not_those(pattern: str, matched: list[str], unmatched: list[str]) -> None:
    assert [path for path in matched if not excluded(pattern, path)] == []
    assert [path for path in unmatched if excluded(pattern, path)] == []


def test_names_above_the_watched_folder_do_not_count() -> None:
    exclude = Exclude(["data", ".*", "photos"], [ROOT, FilePath(b"/home/me/.pictures")])
    assert not exclude.excludes(FilePath(b"/data/photos/a.jpg"))
    assert not exclude.excludes(FilePath(b"/home/me/.pictures/a.jpg"))
    assert exclude.excludes(FilePath(b"/home/me/.pictures/data/a.jpg"))


def test_a_path_outside_every_watched_folder_is_not_excluded() -> None:
    exclude = Exclude(["*"], [ROOT])
    assert not exclude.excludes(FilePath(b"/data/photos2/a.jpg"))
    assert not exclude.excludes(ROOT)


def test_the_root_of_the_file_system_can_be_watched() -> None:
    exclude = Exclude(["*.tmp", "a/b"], [FilePath(b"/")])
    assert exclude.excludes(FilePath(b"/x.tmp"))
    assert exclude.excludes(FilePath(b"/a/b/c"))
    assert not exclude.excludes(FilePath(b"/a/c"))


def test_no_pattern_excludes_nothing() -> None:
    assert not Exclude([], [ROOT]).excludes(FilePath(ROOT + b"/.x"))


@pytest.mark.parametrize(
    "pattern", ["", "/", "a[b", "[]", "[z-a]", "a//b", "../a", "a/./b", "..", "a\0b", "[\x01-\U0010ffff]"]
)
def test_a_bad_pattern_is_a_setting_to_be_mended(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"^watch\.exclude: "):
        Exclude(["*.ok", pattern], [ROOT])


TEXT = st.text(st.sampled_from("ab.*?é~"), min_size=1, max_size=6)


@given(patterns=st.lists(TEXT.filter(lambda p: p not in {".", ".."}), max_size=4), name=TEXT)
def test_names_match_as_the_shell_has_it(patterns: list[str], name: str) -> None:
    exclude = Exclude(patterns, [ROOT])
    assert exclude.excludes_name(os.fsencode(name)) == any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def test_the_first_pattern_that_leaves_a_path_out_is_its_rule() -> None:
    patterns = ["*.tmp", "raw/**", ".*"]
    exclude = Exclude(patterns, [FilePath(b"/w")])
    rules = {b"/w/a.tmp": "*.tmp", b"/w/raw/x/a.jpg": "raw/**", b"/w/.git/a.tmp": "*.tmp", b"/w/.git/a": ".*"}
    for path, rule in rules.items():
        assert exclude.rule(FilePath(path)) == rule
        assert exclude.excludes(FilePath(path))
    for path in (b"/w/a.jpg", b"/elsewhere/a.tmp"):
        assert exclude.rule(FilePath(path)) is None
