"""A thing: one kind of object in a scene, as often as it occurs there."""

from dataclasses import dataclass

from indexer.scenes.words import Size, Texture


@dataclass(frozen=True, slots=True)
class Thing:
    """One kind of thing in a scene, `count` times (1 to 5).

    `position` is a key of `PLACE_WORDS` for one thing and of `ARRANGEMENT_WORDS` for several. `radius` is a fraction of
    the picture's side.
    """

    shape: str
    colour: str
    count: int
    size: Size
    texture: Texture
    position: str
    radius: float
