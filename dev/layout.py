"""Where the nodes of the workflows stand: places and groups as ``[x, y, width, height]``, and the notes."""

from __future__ import annotations

PADDING, GROUP_TITLE, NODE_TITLE, HEIGHT = 20, 44, 30, 1030
BLUE, GREEN, SAND, PLUM, RUST, STEEL = "#3f789e", "#5a7a4a", "#a88a3d", "#7a4f8a", "#a1563a", "#56667a"

Box = list[int]

# Six columns: pictures, model, inversion, fused attention, fused sampling, result.
# Nodes that sample have room below them for their previews.
_SHARED: dict[str, Box] = {
    "1": [0, 0, 270, 370],  # Content
    "2": [0, 460, 270, 370],  # Style
    "3": [300, 0, 230, 130],
    "4": [300, 460, 230, 130],
    "7": [600, 220, 270, 46],
    "8": [600, 460, 270, 46],
    "9": [940, 0, 320, 390],  # inversion
    "14": [940, 700, 320, 330],  # its bank, below the preview
    "10": [1330, 0, 280, 320],  # fused attention
    "11": [1680, 0, 280, 275],  # fused sampling
    "12": [2030, 0, 380, 46],
    "13": [2030, 140, 380, 890],
}
_DEMO_PLACES = {**_SHARED, "5": [600, 0, 270, 60]}
PLACES: dict[str, dict[str, Box]] = {
    "magicstyle_demo": _DEMO_PLACES,
    "magicstyle_paper": _DEMO_PLACES,
    "magicstyle_portrait": {**_SHARED, "5": [600, 0, 270, 110], "6": [600, 680, 270, 150]},
    "keep_colors": {
        **_DEMO_PLACES,
        "15": [2030, 140, 380, 80],  # the portrait's colours
        "13": [2030, 310, 380, 720],
    },
    "ablation_grid": {
        **{node: _DEMO_PLACES[node] for node in "1 2 3 4 5 7 8 9".split()},
        "10": [1330, 0, 320, 480],  # the sweep
        "13": [1720, 0, 900, 520],  # the grid
    },
    "style_library": {
        "1": [0, 0, 270, 370],  # Style
        "3": [0, 460, 270, 130],
        "5": [340, 0, 270, 60],
        "7": [340, 220, 270, 46],
        "9": [680, 0, 320, 330],  # inversion
        "14": [1070, 460, 320, 370],  # its bank
        "10": [1070, 0, 320, 370],  # the library
    },
    "batch_portraits": {
        **_DEMO_PLACES,
        "6": [300, 220, 230, 86],
        "8": [600, 380, 270, 380],  # the style from the library
        "9": [940, 0, 320, 390],
    },
}
NOTE: Box = [0, -250, 530, 145]


def _group(title: str, color: str, *boxes: Box) -> dict[str, object]:
    """A group around these nodes, titles included; all groups are equally high."""
    left, right = min(b[0] for b in boxes) - PADDING, max(b[0] + b[2] for b in boxes) + PADDING
    top = -NODE_TITLE - GROUP_TITLE
    return {"title": title, "color": color, "bounding": [left, top, right - left, HEIGHT + PADDING - top]}


# Title, colour and nodes of every group.
_PORTRAIT_GROUPS = [
    ("Pictures", BLUE, "1 2 3 4"),
    ("Model", STEEL, "5 6 7 8"),
    ("1 Inversion (CSDI)", GREEN, "9 14"),
    ("2 Fused attention (FFA)", PLUM, "10"),
    ("3 Fused sampling (FFF)", RUST, "11"),
    ("Result", SAND, "12 13"),
]
_MEMBERS = {
    "keep_colors": [*_PORTRAIT_GROUPS[:-1], ("4 The portrait's colours", SAND, "12 15 13")],
    "ablation_grid": [
        *_PORTRAIT_GROUPS[:3],
        ("2 Sweep", PLUM, "10"),
        ("Grid", SAND, "13"),
    ],
    "style_library": [
        ("Picture", BLUE, "1 3"),
        ("Model", STEEL, "5 7"),
        ("1 Inversion", GREEN, "9"),
        ("2 Library", SAND, "10 14"),
    ],
    "batch_portraits": [
        ("Portraits", BLUE, "1 2 3 4 6"),
        ("Model and saved style", STEEL, "5 7 8"),
        ("1 Inversion", GREEN, "9 14"),
        *_PORTRAIT_GROUPS[3:],
    ],
}


def _groups(name: str) -> list[dict[str, object]]:
    places = PLACES[name]
    return [
        _group(title, color, *(places[node] for node in nodes.split() if node in places))
        for title, color, nodes in _MEMBERS.get(name, _PORTRAIT_GROUPS)
    ]


GROUPS = {name: _groups(name) for name in PLACES}

_DIALS = """\
**Dials to try**: *strength*, how much of the style comes in; *alpha* and *beta* (together 1), where more \
*beta* brings more of its texture; *texture*, how far its dots and lines keep their order; *color_strength*, how far \
colours move; *start_step*, where more keeps more of the portrait."""

_DEMO = f"""\
1. Choose a portrait in **Content** and a picture in **Style**.
2. Press **Run**. The small model comes with the pack: nothing to download.
3. For pictures in full quality open *magicstyle_portrait* with a checkpoint.

{_DIALS}"""

_PAPER = """\
The method as the paper (arXiv 2409.08156) has it, for comparison with *magicstyle_demo*: inversion by \
*ddim*, *detail* 0, *alpha* 0.8, *beta* 0.2, *queries* stored, *color* adain, *texture* 0.

1. Choose a portrait in **Content** and a picture in **Style**, best posed alike: *beta* copies layout here.
2. Press **Run**."""

_PORTRAIT = f"""\
1. Choose a portrait in **Content** and a picture in **Style**.
2. Choose any Stable Diffusion 1.5 checkpoint in **Load Checkpoint** (folder *models/checkpoints*).
3. Press **Run**.

{_DIALS}"""

_ABLATION = """\
The paper's ablation: one portrait, inverted once, under a list of settings; only attention differs between the columns.

1. Choose a portrait in **Content** and a picture in **Style**.
2. Write one setting a line in **Alpha / Beta Sweep**: inputs of FFA Attention Patch as *name=value*, or a method of \
Fusion Rule, such as *StyleID* or *StyleID: gamma=0.5*.
3. Press **Run**. Every line costs one sampling run."""

_COLORS = f"""\
The style's strokes in the portrait's own colours.

1. Choose a portrait in **Content** and a picture in **Style**.
2. Press **Run**. **Keep Colors** takes lightness from the stylized picture and colours from the portrait.
3. *strength* of Keep Colors lets some of the style's colours stay.

{_DIALS}"""

_LIBRARY = """\
1. Choose a picture in **Style** and a name in **Save Feature Bank**.
2. Press **Run**: the style is inverted once and saved in *models/magicstyle_banks*.
3. Open *batch_portraits* and choose it in **Load Feature Bank**."""

_BATCH = """\
1. Run *style_library* once: it saves the style that this workflow uses.
2. Choose portraits in the two **Load Image** nodes, and the style in **Load Feature Bank** (press R if it is new).
3. Press **Run**: all portraits are repainted at once, from one copy of the style.

Keep *steps* and *scheduler* as the style was saved with."""

NOTES = {
    "magicstyle_demo": {"text": _DEMO, "place": NOTE},
    "magicstyle_paper": {"text": _PAPER, "place": NOTE},
    "magicstyle_portrait": {"text": _PORTRAIT, "place": NOTE},
    "keep_colors": {"text": _COLORS, "place": NOTE},
    "ablation_grid": {"text": _ABLATION, "place": NOTE},
    "style_library": {"text": _LIBRARY, "place": NOTE},
    "batch_portraits": {"text": _BATCH, "place": NOTE},
}
