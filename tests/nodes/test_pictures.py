"""Thumbnails as bank files carry them: what is no such picture is refused."""

import base64
import io
import random

import pytest
import torch
from PIL import Image

JPEG = "data:image/jpeg;base64,"


@pytest.mark.parametrize("uri", ["", "x", "data:image/png;base64,AAAA", f"{JPEG}!!", f"{JPEG}AAAA"])
def test_thumbnails_that_are_none_are_refused(pack, uri):
    with pytest.raises(ValueError, match="."):
        pack("nodes.pictures").from_uri(uri)


def test_thumbnails_survive_any_damage_or_are_refused(pack):
    pictures, chance = pack("nodes.pictures"), random.Random(1)
    uri = pictures.to_uri(torch.randint(0, 255, (300, 500, 3), dtype=torch.uint8))
    assert len(uri) < 100_000
    assert pictures.from_uri(uri).shape == (154, 256, 3)
    for _ in range(200):
        place = chance.randrange(len(uri))
        try:
            pictures.from_uri(uri[:place] + chance.choice("AZaz09+/=") + uri[place + 1 :])
            pictures.from_uri(uri[: place // 4 * 4])
        except ValueError:
            pass


def test_a_thumbnail_that_is_a_bomb_is_refused(pack):
    file = io.BytesIO()
    Image.new("RGB", (20_000, 4_000)).save(file, "JPEG", quality=1)
    with pytest.raises(ValueError, match=r"20000 x 4000|exceeds limit"):
        pack("nodes.pictures").from_uri(JPEG + base64.b64encode(file.getvalue()).decode())
