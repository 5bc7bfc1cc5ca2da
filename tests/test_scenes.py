"""Scenes: what is drawn is what is said, and the same seed gives the same files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from indexer.scenes import Mention, Phrase, Scene, Thing, random_scene, write_scenes
from indexer.scenes.drawing import lay_out
from indexer.scenes.outlines import OUTLINES
from indexer.scenes.words import (
    ARRANGEMENT_WORDS,
    COLOURS,
    COUNT_WORDS,
    PLACE_WORDS,
    POSITION_WORDS,
    SHAPES,
    SIZE_WORDS,
    TEXTURE_WORDS,
)

seeds = st.integers(0, 2**32 - 1)


def one_thing(**attributes: object) -> Thing:
    usual = {"shape": "circle", "colour": "red", "count": 1, "size": "large", "texture": "solid", "position": "middle"}
    return Thing(**(usual | {"radius": 0.29} | attributes))  # type: ignore[arg-type]


def nearest_colour(rgb: np.ndarray) -> str:
    return min(COLOURS, key=lambda name: float(np.linalg.norm(np.array(COLOURS[name]) - rgb)))


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_the_same_seed_draws_the_same_picture(seed: int) -> None:
    pictures = []
    for _ in range(2):
        rng = np.random.default_rng(seed)
        pictures.append(np.asarray(random_scene(rng).draw(48, rng)))
    np.testing.assert_array_equal(*pictures)
    assert pictures[0].shape == (48, 48, 3)
    assert pictures[0].dtype == np.uint8


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_everything_a_random_scene_shows_has_words(seed: int) -> None:
    scene = random_scene(np.random.default_rng(seed))
    assert scene.background in COLOURS
    assert len({thing.colour for thing in scene.things} | {scene.background}) == len(scene.things) + 1
    for thing in scene.things:
        assert thing.shape in SHAPES
        assert thing.shape in OUTLINES
        assert thing.count in COUNT_WORDS
        assert thing.size in SIZE_WORDS
        assert thing.texture in TEXTURE_WORDS
        assert thing.position in (PLACE_WORDS if thing.count == 1 else ARRANGEMENT_WORDS)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_things_stand_inside_the_picture_and_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stands = [stand for thing in random_scene(rng).things for stand in lay_out(thing, rng)]
    for i, a in enumerate(stands):
        assert a.radius <= a.x <= 1 - a.radius
        assert a.radius <= a.y <= 1 - a.radius
        for b in stands[:i]:
            assert np.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius


@pytest.mark.parametrize("colour", COLOURS)
def test_the_named_colour_is_the_colour_of_the_pixels(colour: str) -> None:
    background = "white" if colour == "black" else "black"
    rng = np.random.default_rng(5)
    pixels = np.asarray(Scene((one_thing(colour=colour),), background).draw(96, rng)).astype(float)
    assert nearest_colour(np.median(pixels[40:56, 40:56], axis=(0, 1))) == colour
    assert nearest_colour(np.median(pixels[:8], axis=(0, 1))) == background


@pytest.mark.parametrize("colour", COLOURS)
def test_the_named_background_is_nearest_to_its_colour(colour: str) -> None:
    thing = one_thing(colour="white" if colour == "black" else "black", size="small", radius=0.1)
    pixels = np.asarray(Scene((thing,), colour).draw(96, np.random.default_rng(6))).astype(float)
    assert nearest_colour(np.median(pixels, axis=(0, 1))) == colour


@pytest.mark.parametrize("position", PLACE_WORDS)
def test_the_named_place_is_where_the_thing_stands(position: str) -> None:
    thing = one_thing(colour="white", position=position, size="small", radius=0.1)
    pixels = np.asarray(Scene((thing,), "black").draw(90, np.random.default_rng(7)).convert("L"))
    y, x = (axis.mean() / 90 for axis in np.nonzero(pixels > 128))
    said_x = "left" if x < 0.4 else "right" if x > 0.6 else ""
    said_y = "top" if y < 0.4 else "bottom" if y > 0.6 else ""
    assert (f"{said_y} {said_x}".strip() or "middle") == position


@pytest.mark.parametrize("arrangement", ARRANGEMENT_WORDS)
@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_the_named_arrangement_is_how_things_stand(arrangement: str, seed: int) -> None:
    stands = lay_out(one_thing(count=3, position=arrangement, radius=0.07), np.random.default_rng(seed))
    is_row = np.ptp([stand.y for stand in stands]) < 0.03
    is_column = np.ptp([stand.x for stand in stands]) < 0.03
    assert ("row" if is_row else "column" if is_column else "scattered") == arrangement


def test_a_texture_changes_the_picture_but_not_its_main_colour() -> None:
    def middle(texture: str) -> np.ndarray:
        scene = Scene((one_thing(colour="blue", texture=texture),), "white")
        return np.asarray(scene.draw(96, np.random.default_rng(8)))[32:64, 32:64].astype(float)

    def contrast(pixels: np.ndarray) -> float:
        return float(pixels.std(axis=(0, 1)).max())

    for texture in ("striped", "dotted", "checkered"):
        assert contrast(middle(texture)) > 3 * contrast(middle("solid"))
        assert nearest_colour(middle(texture).mean(axis=(0, 1))) == "blue"


def test_a_caption_says_everything_in_the_usual_words() -> None:
    assert Scene((one_thing(),), "yellow").caption() == "a large red circle in the middle on a yellow background"
    three = one_thing(count=3, size="small", texture="striped", colour="orange", shape="square", position="row")
    assert Scene((three,), "blue").caption() == "three small striped orange squares in a row on a blue background"
    pair = (one_thing(size="medium", position="left"), one_thing(shape="star", colour="blue", position="right"))
    assert Scene(pair, "orange").caption() == "a red circle to the left of a large blue star on an orange background"


def test_a_caption_has_several_wordings() -> None:
    scene = Scene((one_thing(),), "yellow")
    wordings = {scene.caption(np.random.default_rng(seed)) for seed in range(30)}
    assert len(wordings) > 10
    assert all("yellow" in wording and "red" in wording for wording in wordings)


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_every_phrase_of_a_scene_is_true_of_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    assert Phrase.full(scene).is_true_of(scene)
    partial = Phrase.partial(scene, rng)
    assert partial.is_true_of(scene)
    assert partial.text(rng).strip()


def test_a_phrase_is_false_where_one_word_is() -> None:
    scene = Scene((one_thing(count=2, position="row"),), "blue")
    assert Phrase((Mention("circle", "red", plural=True),), "blue").is_true_of(scene)
    for wrong in (Mention("star"), Mention(colour="green"), Mention(count=3), Mention(position="column")):
        assert not Phrase((wrong,)).is_true_of(scene)
    assert not Phrase((), "red").is_true_of(scene)
    assert not Phrase((Mention("circle"), Mention("circle"))).is_true_of(scene)


def test_two_mentions_need_two_things_in_any_order() -> None:
    pair = (one_thing(position="left"), one_thing(shape="star", colour="blue", position="right"))
    scene = Scene(pair, "white")
    assert Phrase((Mention("star"), Mention("circle"))).is_true_of(scene)
    assert not Phrase((Mention("star", "red"), Mention("circle", "blue"))).is_true_of(scene)


def test_writing_gives_as_many_readable_files_in_three_formats(tmp_path: Path) -> None:
    paths = list(write_scenes(tmp_path, 40, seed=3, side_px=(32, 48)))
    assert sorted(paths) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(set(paths)) == 40
    assert len({path.parent for path in paths}) > 1
    formats = set()
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
            formats.add(picture.format)
            assert 32 <= picture.width == picture.height <= 48
    assert formats == {"JPEG", "PNG", "WEBP"}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other, longer = (
        [path.read_bytes() for path in write_scenes(tmp_path / name, n, seed, side_px=32)]
        for name, n, seed in (("first", 6, 1), ("again", 6, 1), ("other", 6, 2), ("longer", 8, 1))
    )
    assert first == again == longer[:6]
    assert not set(first) & set(other)


def test_file_names_do_not_tell_what_is_in_the_picture(tmp_path: Path) -> None:
    words = {*SHAPES, *COLOURS, *" ".join(POSITION_WORDS).split()}
    for path in write_scenes(tmp_path, 12, seed=4, side_px=32):
        assert not any(word in str(path.relative_to(tmp_path)) for word in words)
