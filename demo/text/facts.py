"""What a prompt can say of a portrait, as names of classes: the truth that captions tell and samples are judged by."""

from __future__ import annotations

from dataclasses import dataclass

COLORS = ("black", "grey", "white", "red", "brown", "yellow", "green", "teal", "blue", "purple")
CLASSES: dict[str, tuple[str, ...]] = {
    "hair": ("black", "dark brown", "brown", "light brown", "blonde", "red", "grey", "white"),
    "cut": ("short", "swept", "bangs", "long", "wavy", "bob", "curly", "bun", "quiff", "cropped"),
    "skin": ("fair", "tan", "dark"),
    "glasses": ("none", "glasses"),
    "beard": ("none", "moustache", "beard"),
    "mouth": ("serious", "smiling", "open"),
    "age": ("young", "old"),
    "garment": ("crew", "vee", "shirt", "suit", "turtle", "hoodie", "scarf"),
    "pattern": ("plain", "stripes", "checks", "knit"),
    "cloth": COLORS,
    "backdrop": ("studio", "bokeh", "hills", "window", "shelf", "foliage"),
    "background": COLORS,
    "style": (
        "photo",
        "oil",
        "watercolor",
        "hatching",
        "halftone",
        "mosaic",
        "woodcut",
        "poster",
        "pastel",
        "pointillism",
        "engraving",
        "neon",
        "stained",
        "risograph",
        "charcoal",
    ),
}
UNSAID = -1  # the label of an attribute that is between two classes


@dataclass(frozen=True)
class Facts:
    """One portrait. Each of `CLASSES` names a class of that attribute, or None where it is between two.

    The rest is worth a word but not judged: shades of colours ("dark", "light" or None), freckles, an earring.
    """

    hair: str | None
    cut: str | None
    skin: str | None
    glasses: str | None
    beard: str | None
    mouth: str | None
    age: str | None
    garment: str | None
    pattern: str | None
    cloth: str | None
    backdrop: str | None
    background: str | None
    style: str | None
    cloth_shade: str | None = None
    background_shade: str | None = None
    freckles: bool = False
    earring: bool = False

    def labels(self) -> list[int]:
        """Class indices in the order of `CLASSES`, `UNSAID` for None."""
        names = [getattr(self, attribute) for attribute in CLASSES]
        return [
            UNSAID if name is None else classes.index(name)
            for name, classes in zip(names, CLASSES.values(), strict=True)
        ]
