"""Thumbnails as bank files carry them: what is no such picture is refused."""

import base64
import io
import random
import time

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


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def uri(data):
    return JPEG + base64.b64encode(data).decode()


def scans(data, number):
    """A progressive JPEG with its last scan repeated: a decoder goes over the picture for each."""
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * number + data[-2:]


BOMBS = {
    "20000 x 4000": jpeg(Image.new("L", (20_000, 4_000)), quality=1)[:140_000],
    "257 x 1": jpeg(Image.new("RGB", (257, 1))),
    "scans": scans(jpeg(Image.new("RGB", (256, 256)), progressive=True), 5_000),
    "characters": jpeg(Image.new("RGB", (64, 64))) + bytes(200_000),
}


@pytest.mark.parametrize("words", BOMBS)
def test_a_thumbnail_that_is_a_bomb_is_refused_at_once(pack, words):
    thumbnail, begin = uri(BOMBS[words]), time.perf_counter()
    with pytest.raises(ValueError, match=words):
        pack("nodes.pictures").from_uri(thumbnail)
    assert time.perf_counter() - begin < 0.1  # measured 0.001


def test_what_pictures_become_is_within_the_bounds_of_what_is_read(pack):
    pictures, noise = pack("nodes.pictures"), torch.Generator().manual_seed(1)
    for size in ((256, 256), (1024, 1024), (1, 1), (1, 3000)):
        written = pictures.to_uri(torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=noise))
        assert len(written) < pictures.LONGEST / 1.5
        assert max(pictures.from_uri(written).shape[:2]) <= 256
