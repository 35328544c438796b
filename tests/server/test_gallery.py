"""The demo's sheet: several portraits in several styles by one prompt, on a real server."""

import io

import numpy as np
import pytest
from live_host import only, small, twin
from PIL import Image

from dev.demo import PORTRAITS, STYLES
from dev.gallery import Gallery
from dev.graph import Graph
from dev.sheet import BAND, GAP, sheet

SIZE = 64


def arrays(encoded):
    return [np.array(Image.open(io.BytesIO(data)).convert("RGB"), np.float32) for data in encoded]


@pytest.fixture
def painted(host):
    """Pictures by style: a list with one for each of two portraits."""
    gallery = Gallery(Graph(small(twin("batch_portraits"), SIZE)), PORTRAITS[:2], STYLES[:2], SIZE)
    run = host.client.run(gallery.graph.nodes, timeout=240)
    return {style: arrays(host.client.images(run, saver)) for style, saver in gallery.savers.items()}


def test_every_portrait_is_painted_in_every_style_and_comes_back_without_one(host, painted):
    assert list(painted) == [None, *STYLES[:2]]
    for pictures in painted.values():
        assert [picture.shape for picture in pictures] == [(SIZE, SIZE, 3)] * 2
    source = Image.open(host.base / "input" / PORTRAITS[1]).convert("RGB").resize((SIZE, SIZE))
    back, first, second = (painted[style][1] for style in painted)
    assert np.abs(back - np.array(source)).mean() < 10
    for a, b in ((back, first), (back, second), (first, second)):
        assert np.abs(a - b).mean() > 20


def test_a_picture_of_the_sheet_is_what_the_graph_for_one_pair_gives(host, demo, painted):
    run = host.client.run(small(demo, SIZE), timeout=240)
    (single,) = arrays(host.client.images(run, only(demo, "SaveImage")))
    assert np.abs(single - painted[STYLES[0]][0]).max() <= 1


def test_a_sheet_has_its_pictures_in_rows_and_leaves_empty_places_white():
    red, blue = (Image.new("RGB", (40, 40), color) for color in ("red", "blue"))
    page = sheet([[("", None), ("style", red)], [("portrait", blue), ("result", red)]], height=20)
    assert page.size == (2 * (20 + GAP) + GAP, 2 * (20 + GAP + BAND))
    middles = {
        (i, j): page.getpixel((GAP + j * (20 + GAP) + 10, GAP + i * (20 + GAP + BAND) + 10))
        for i in range(2)
        for j in range(2)
    }
    assert middles == {(0, 0): (255,) * 3, (0, 1): (255, 0, 0), (1, 0): (0, 0, 255), (1, 1): (255, 0, 0)}
