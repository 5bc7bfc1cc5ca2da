"""The words of scenes: what there is to draw, and how people name it. The first wording is the usual one."""

from typing import Final, Literal

Size = Literal["small", "medium", "large"]
Texture = Literal["solid", "striped", "dotted", "checkered"]

#: Shape -> (singular, plural) wordings.
SHAPES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "circle": (("circle", "circles"), ("disc", "discs"), ("disk", "disks"), ("ball", "balls"), ("dot", "dots")),
    "ring": (("ring", "rings"), ("donut", "donuts"), ("hoop", "hoops")),
    "square": (("square", "squares"), ("box", "boxes")),
    "diamond": (("diamond", "diamonds"), ("rhombus", "rhombuses")),
    "triangle": (("triangle", "triangles"), ("pyramid", "pyramids")),
    "star": (("star", "stars"),),
    "heart": (("heart", "hearts"),),
    "moon": (("moon", "moons"), ("crescent", "crescents"), ("crescent moon", "crescent moons")),
    "cross": (("cross", "crosses"), ("plus sign", "plus signs"), ("plus", "pluses")),
    "flower": (("flower", "flowers"), ("blossom", "blossoms")),
}

#: Colour -> sRGB of things. Backgrounds use a softer tone of the same hue.
COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (217, 45, 52),
    "orange": (244, 129, 32),
    "yellow": (250, 205, 48),
    "green": (52, 158, 84),
    "blue": (42, 104, 208),
    "purple": (124, 62, 168),
    "pink": (246, 146, 184),
    "brown": (124, 80, 50),
    "black": (34, 36, 42),
    "white": (248, 247, 243),
}
COLOUR_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose"),
}

COUNT_WORDS: Final[dict[int, tuple[str, ...]]] = {
    1: ("one", "a single", "1"),
    2: ("two", "2", "a pair of"),
    3: ("three", "3"),
    4: ("four", "4"),
    5: ("five", "5"),
}

SIZE_WORDS: Final[dict[Size, tuple[str, ...]]] = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "medium-sized"),
    "large": ("large", "big", "huge"),
}

TEXTURE_WORDS: Final[dict[Texture, tuple[str, ...]]] = {
    "solid": ("plain", "solid"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted", "polka dot"),
    "checkered": ("checkered", "chequered", "checked"),
}

#: Where one thing stands. Two different things stand at left and right, or at top and bottom.
PLACE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "middle": ("in the middle", "in the center", "in the centre"),
    "left": ("on the left", "on the left side", "at the left"),
    "right": ("on the right", "on the right side", "at the right"),
    "top": ("at the top", "on top", "in the upper part"),
    "bottom": ("at the bottom", "in the lower part"),
    "top left": ("in the top left corner", "at the top left", "in the upper left corner"),
    "top right": ("in the top right corner", "at the top right", "in the upper right corner"),
    "bottom left": ("in the bottom left corner", "at the bottom left", "in the lower left corner"),
    "bottom right": ("in the bottom right corner", "at the bottom right", "in the lower right corner"),
}
#: How several things of one kind are arranged.
ARRANGEMENT_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "row": ("in a row", "side by side", "in a line"),
    "column": ("in a column", "stacked"),
    "scattered": ("scattered", "spread out"),
}
POSITION_WORDS: Final[dict[str, tuple[str, ...]]] = PLACE_WORDS | ARRANGEMENT_WORDS

#: (position of the first thing, position of the second) -> wordings between the two.
RELATION_WORDS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("left", "right"): ("to the left of", "left of"),
    ("right", "left"): ("to the right of", "right of"),
    ("top", "bottom"): ("above", "over"),
    ("bottom", "top"): ("below", "under"),
}
