"""Keep Colors in the executor: batches, sizes, channels, and what is refused."""

import kornia.color
import numpy as np
import pytest
import torch
from graphs import keep, node
from skimage.color import rgb2lab


def picture(size, seed, **changes):
    """A picture of random colours in (height, width, channels), `batch` times."""
    return node("TestImage", height=size[0], width=size[1], seed=seed, **{"batch": 1, "channels": 3, **changes})


def graph(size=(24, 16), other=(24, 16), image=None, content=None, strength=1.0):
    return {
        "image": picture(size, 1, **(image or {})),
        "content": picture(other, 2, **(content or {})),
        "colors": node("MagicStyle_KeepColors", image=["image", 0], content=["content", 0], strength=strength),
        **{f"keep {name}": keep([name, 0], name) for name in ("image", "content", "colors")},
    }


def lightness(image):
    return rgb2lab(image[..., :3].numpy())[..., 0]


def test_lightness_is_the_pictures_and_colours_are_the_contents(run):
    kept = run(graph())
    np.testing.assert_allclose(lightness(kept["colors"]), lightness(kept["image"]), atol=0.05)
    near, far = (rgb2lab(kept[name].numpy())[..., 1:] for name in ("content", "image"))
    colors = rgb2lab(kept["colors"].numpy())[..., 1:]
    assert np.abs(colors - near).mean() < 0.5 * np.abs(colors - far).mean()


def test_strength_zero_is_the_picture_bit_for_bit(run):
    kept = run(graph(strength=0.0))
    assert torch.equal(kept["colors"], kept["image"])


@pytest.mark.parametrize("other", [(48, 32), (12, 8), (25, 17)])
def test_the_portrait_may_have_another_size_in_like_proportions(run, other):
    kept = run(graph(other=other))
    assert kept["colors"].shape == (1, 24, 16, 3)


def test_one_portrait_serves_several_pictures_and_several_go_one_by_one(run):
    shared = run(graph(image={"batch": 3}))["colors"]
    assert shared.shape == (3, 24, 16, 3)
    each = run(graph(image={"batch": 3}, content={"batch": 3}))
    assert torch.equal(each["colors"][:1], shared[:1])
    assert not torch.equal(each["colors"][1:], shared[1:])


@pytest.mark.parametrize("portraits", [1, 5])
def test_a_batch_needs_the_memory_of_one_picture_beside_what_goes_in_and_out(run, monkeypatch, portraits):
    """Every colour space is entered picture by picture."""
    sizes, original = [], kornia.color.rgb_to_lab
    monkeypatch.setattr(kornia.color, "rgb_to_lab", lambda image: sizes.append(len(image)) or original(image))
    colors = run(graph(image={"batch": 5}, content={"batch": portraits}))["colors"]
    assert colors.shape[0] == 5
    assert sizes == [1] * 10


def test_transparency_stays_and_grey_takes_colour(run):
    kept = run(graph(image={"channels": 4}, content={"channels": 4}))
    assert torch.equal(kept["colors"][..., 3], kept["image"][..., 3])
    colored = run(graph(image={"channels": 1}))["colors"]
    assert colored.shape == (1, 24, 16, 3)
    assert float(colored.std(-1).mean()) > 0.01


REFUSED = {
    "portraits that fit no batch": (
        {"image": {"batch": 3}, "content": {"batch": 2}},
        ("2 portraits for 3 stylized", "one for each"),
    ),
    "a portrait of other proportions": ({"other": (24, 24)}, ("24x24", "16x24", "after scaling and cropping")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(run, case):
    changes, words = REFUSED[case]
    with pytest.raises(AssertionError) as caught:
        run(graph(**changes))
    message = str(caught.value)
    assert message.startswith("ValueError")
    assert all(word in message for word in words), message
