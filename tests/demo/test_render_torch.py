"""The renderer in torch draws what it draws in NumPy. Measured differences stand beside the limits."""

import dataclasses

import numpy as np
import pytest
import torch

from demo.render import render, scene
from demo.render.backend import NUMPY, on_device
from demo.render.scene import BACKDROPS, GARMENTS, HAIR_CUTS, PATTERNS, Scene
from demo.render.styles import KINDS, apply, style
from demo.train import dataset, natural
from demo.train.pictures import Rendered

SIZE = 64
CASES = range(len(HAIR_CUTS))


def cast(case: int) -> Scene:
    """A portrait for each hair cut; together they wear, and stand before, everything there is."""
    drawn = scene(case)
    bare = case % 2
    return dataclasses.replace(
        drawn,
        hair=dataclasses.replace(drawn.hair, cut=HAIR_CUTS[case]),
        clothes=dataclasses.replace(
            drawn.clothes, garment=GARMENTS[case % len(GARMENTS)], pattern=PATTERNS[1 + case % (len(PATTERNS) - 1)]
        ),
        backdrop=dataclasses.replace(drawn.backdrop, kind=BACKDROPS[case % len(BACKDROPS)]),
        face=dataclasses.replace(
            drawn.face,
            age=0.9 - 0.6 * bare,
            freckles=0.8 * bare,
            glasses=0.9 * (1 - bare),
            beard=0.8 * bare,
            moustache=0.7 * bare,
            earring=not bare,
            mouth_open=0.03 * bare,
        ),
    )


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return render(scene(11), SIZE)[0]


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2) + 1e-20))


def test_the_cases_show_everything():
    assert {cast(i).clothes.garment for i in CASES} == set(GARMENTS)
    assert {cast(i).clothes.pattern for i in CASES} == set(PATTERNS)
    assert {cast(i).backdrop.kind for i in CASES} == set(BACKDROPS)


@pytest.mark.parametrize("case", CASES)
def test_portrait_and_masks_agree(case):
    image, masks = render(cast(case), SIZE)
    again, their_masks = render(cast(case), SIZE, "cpu")
    assert again.dtype == torch.float32
    assert again.shape == image.shape
    assert np.abs(again.numpy() - image).max() < 1e-4  # 3e-6
    assert set(their_masks) == set(masks)
    for name, mask in masks.items():
        assert their_masks[name].dtype == torch.float32
        assert np.abs(their_masks[name].numpy() - mask).max() < 1e-4, name  # 4e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_styles_agree(kind, seed, portrait):
    image = apply(style(seed, kind), portrait)
    again = apply(style(seed, kind), torch.from_numpy(portrait))
    assert again.dtype == torch.float32
    assert again.shape == image.shape
    away = np.abs(again.numpy() - image).max(-1)
    assert (away < 2 / 255).mean() > 0.995  # 0.9998: pixels change where rounding decides, in brush strokes and ranks
    assert decibels(again.numpy(), image) > 60  # 73


def test_without_a_device_everything_is_numpy(portrait):
    assert isinstance(portrait, np.ndarray)
    assert isinstance(apply(style(5), portrait), np.ndarray)


@pytest.mark.slow  # torch runs operations without data in Python, a second for a portrait
def test_no_value_is_read_back_and_nothing_stays_behind():
    # tensors without data cannot be read by the host, nor meet tensors of another device
    image = torch.zeros(SIZE, SIZE, 3, device="meta")
    drawn = [apply(style(5, kind), image) for kind in KINDS]
    for case in CASES:
        picture, masks = render(cast(case), SIZE, "meta")
        drawn += [picture, *masks.values()]
    assert {a.device.type for a in drawn} == {"meta"}


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.7, 40.0])  # from no blur to one much wider than the picture
def test_blur_repeats_the_border(sigma, portrait):
    for field in (portrait, portrait[..., 1]):
        blurred = on_device("cpu").gaussian(torch.from_numpy(field), sigma).numpy()
        assert np.abs(blurred - NUMPY.gaussian(field, sigma)).max() < 1e-6


def test_reading_between_pixels_repeats_the_border(portrait):
    r = np.random.default_rng(1)
    row, column = (r.uniform(-4, SIZE + 3, (2, SIZE, SIZE))).astype(np.float32)
    read = on_device("cpu").bilinear(*map(torch.from_numpy, (portrait, row, column)))
    assert np.abs(read.numpy() - NUMPY.bilinear(portrait, row, column)).max() < 1e-5


def test_slopes_deviation_and_percentiles(portrait):
    light = portrait[..., 0]
    slopes = on_device("cpu").gradient(torch.from_numpy(light), 0.5)
    for mine, theirs in zip(slopes, NUMPY.gradient(light, 0.5), strict=True):
        assert np.abs(mine.numpy() - theirs).max() < 1e-6
    assert float(on_device("cpu").std(torch.from_numpy(light[:6, :6]))) == pytest.approx(NUMPY.std(light[:6, :6]))
    percents = (0, 2, 33.3, 50, 100)
    found = [float(q) for q in on_device("cpu").percentiles(torch.from_numpy(light), percents)]
    assert found == pytest.approx(NUMPY.percentiles(light, percents), abs=1e-6)


def kind_of(index: int) -> str:
    """What training picture `index` shows."""
    return str(np.random.default_rng((index, 11)).choice(list(dataset.SHARES), p=list(dataset.SHARES.values())))


def test_pictures_drawn_on_a_device_are_those_of_the_data_set():
    indices = [next(i for i in range(3000, 3300) if kind_of(i) == kind) for kind in dataset.SHARES]
    images = Rendered(SIZE, "cpu").images(indices, [1] * len(indices))
    photos = natural.photographs(dataset.ASSETS)
    for index, image in zip(indices, images, strict=True):
        assert image.dtype == torch.float32
        drawn = dataset.picture(index, SIZE, photos, {})
        assert decibels(image.numpy(), drawn) > 60, kind_of(index)


def test_batches_depend_on_the_generator_alone():
    source = Rendered(32, "cpu")
    one, same, other = (source.batch(8, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one.shape == (8, 3, 32, 32)
    assert 0 <= one.min() <= one.max() <= 1
    assert torch.equal(one, same)
    assert (one - other).abs().mean() > 0.05
