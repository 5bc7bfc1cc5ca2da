"""A phrase: some of what a scene shows, in words, and which scenes it is true of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.scenes.thing import Thing
from indexer.scenes.words import (
    COLOUR_WORDS,
    COUNT_WORDS,
    POSITION_WORDS,
    RELATION_WORDS,
    SHAPES,
    SIZE_WORDS,
    TEXTURE_WORDS,
    Size,
    Texture,
)

if TYPE_CHECKING:
    from indexer.scenes.scene import Scene

_ANY_SHAPE = (("shape", "shapes"), ("thing", "things"), ("object", "objects"))
_OPENINGS = ("", "", "", "a picture of ", "a photo of ", "a drawing of ", "an image of ", "there is ", "find ")


@dataclass(frozen=True, slots=True)
class Mention:
    """What is said of one kind of thing; None is unsaid. `plural` without a count says more than one."""

    shape: str | None = None
    colour: str | None = None
    count: int | None = None
    size: Size | None = None
    texture: Texture | None = None
    position: str | None = None
    plural: bool = False

    def is_true_of(self, thing: Thing) -> bool:
        """Tells whether everything that is said holds for `thing`."""
        said = (self.shape, self.colour, self.count, self.size, self.texture, self.position)
        seen = (thing.shape, thing.colour, thing.count, thing.size, thing.texture, thing.position)
        if self.plural and thing.count == 1:
            return False
        return all(a is None or a == b for a, b in zip(said, seen, strict=True))

    def text(self, rng: np.random.Generator | None = None, *, with_position: bool = True) -> str:
        """Words the mention, such as "three small red circles in a row"."""
        words = []
        if self.size is not None:
            words.append(_choose(rng, SIZE_WORDS[self.size]))
        if self.texture is not None:
            words.append(_choose(rng, TEXTURE_WORDS[self.texture]))
        if self.colour is not None:
            words.append(_choose(rng, COLOUR_WORDS.get(self.colour, (self.colour,))))
        words.append(self._noun(rng))
        if self.count is not None:
            words.insert(0, self._number(rng, words[0]))
        if self.position is not None and with_position:
            words.append(_choose(rng, POSITION_WORDS[self.position]))
        return " ".join(words)

    def _noun(self, rng: np.random.Generator | None) -> str:
        nouns = SHAPES[self.shape] if self.shape is not None else _ANY_SHAPE
        # Half of the wordings are the usual word, whatever the number of its synonyms.
        singular, plural = nouns[0] if rng is None or rng.random() < 0.5 else nouns[int(rng.integers(len(nouns)))]
        return plural if self.plural or (self.count or 1) > 1 else singular

    def _number(self, rng: np.random.Generator | None, next_word: str) -> str:
        count = self.count or 1
        if count == 1 and (rng is None or rng.random() < 0.8):
            return _article(next_word)
        return _choose(rng, COUNT_WORDS[count])


@dataclass(frozen=True, slots=True)
class Phrase:
    """What is said of a scene: of one or two of its kinds of things, and of its background."""

    mentions: tuple[Mention, ...]
    background: str | None = None

    @classmethod
    def full(cls, scene: Scene) -> Phrase:
        """Says everything but the usual: medium size, solid texture and scattered things go unsaid."""
        return cls(tuple(_full_mention(thing) for thing in scene.things), scene.background)

    @classmethod
    def partial(cls, scene: Scene, rng: np.random.Generator) -> Phrase:
        """Says some of what `scene` shows, as people do who search: often only a colour and a shape."""
        things = [scene.things[int(i)] for i in rng.permutation(len(scene.things))]
        if len(things) == 2 and rng.random() < 0.6:
            things = things[:1]
        background = scene.background if rng.random() < 0.35 else None
        if background is not None and rng.random() < 0.12:
            return cls((), background)
        return cls(tuple(_partial_mention(thing, rng) for thing in things), background)

    def is_true_of(self, scene: Scene) -> bool:
        """Tells whether everything that is said holds for `scene`."""
        if self.background not in (None, scene.background):
            return False
        if len(self.mentions) < 2:
            return all(any(m.is_true_of(thing) for thing in scene.things) for m in self.mentions)
        first, second = self.mentions
        pairs = (scene.things, scene.things[::-1]) if len(scene.things) == 2 else ()
        return any(first.is_true_of(a) and second.is_true_of(b) for a, b in pairs)

    def text(self, rng: np.random.Generator | None = None) -> str:
        """Words the phrase: the usual words, or words that `rng` chooses."""
        opening = _choose(rng, _OPENINGS) if self.mentions else ""
        return opening + self._scene_text(rng)

    def _scene_text(self, rng: np.random.Generator | None) -> str:
        things = self._things_text(rng) if self.mentions else ""
        if self.background is None:
            return things
        background = _choose(rng, COLOUR_WORDS.get(self.background, (self.background,))) + " background"
        if rng is None or rng.random() < 0.7:
            background = f"{_article(background)} {background}"
        if not things:
            return background
        if rng is not None and rng.random() < 0.15:
            return f"{background} with {things}"
        return f"{things} on {background}"

    def _things_text(self, rng: np.random.Generator | None) -> str:
        if len(self.mentions) == 1:
            return self.mentions[0].text(rng)
        first, second = self.mentions
        relation = RELATION_WORDS.get((first.position or "", second.position or ""))
        if relation is None or (rng is not None and rng.random() < 0.4):
            return f"{first.text(rng)} {_choose(rng, ('and', 'with', 'next to'))} {second.text(rng)}"
        between = _choose(rng, relation)
        return f"{first.text(rng, with_position=False)} {between} {second.text(rng, with_position=False)}"


def _full_mention(thing: Thing) -> Mention:
    return Mention(
        shape=thing.shape,
        colour=thing.colour,
        count=thing.count,
        size=None if thing.size == "medium" else thing.size,
        texture=None if thing.texture == "solid" else thing.texture,
        position=None if thing.position == "scattered" else thing.position,
    )


def _partial_mention(thing: Thing, rng: np.random.Generator) -> Mention:
    says_shape, says_colour, says_count, says_size, says_texture, says_position = (
        rng.random(6) < (0.85, 0.7, 0.4, 0.3, 0.4, 0.3)
    ).tolist()
    says_texture = says_texture and (thing.texture != "solid" or rng.random() < 0.15)
    return Mention(
        shape=thing.shape if says_shape else None,
        colour=thing.colour if says_colour else None,
        count=thing.count if says_count else None,
        size=thing.size if says_size else None,
        texture=thing.texture if says_texture else None,
        position=thing.position if says_position else None,
        plural=thing.count > 1 and not says_count and bool(rng.random() < 0.5),
    )


def _article(next_word: str) -> str:
    return "an" if next_word[0] in "aeiou" else "a"


def _choose(rng: np.random.Generator | None, words: Sequence[str]) -> str:
    return words[0] if rng is None else words[int(rng.integers(len(words)))]
