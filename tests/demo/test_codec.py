"""The demo model's patch codec."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from truth.grid import grid
from truth.pairs import UNSEEN

from demo.codec import PATCH, PatchCodec
from demo.train import fitting
from demo.train.natural import PHOTOGRAPHS
from magicstyle_core.sampling.color import transport

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "demo" / "magicstyle_demo.safetensors"


def photograph(name: str, size: int) -> torch.Tensor:
    """An asset as (1, 3, size, size) in 0..1."""
    picture = Image.open(ROOT / "assets" / name).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def decibels(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


@pytest.fixture(scope="module")
def shipped() -> PatchCodec:
    with safe_open(str(WEIGHTS), framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("codec.")]
        return PatchCodec.from_state({name.removeprefix("codec."): file.get_tensor(name) for name in names})


def test_all_components_give_the_image_back():
    images = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    codec = PatchCodec.fit(images, channels=48)
    latents = codec.encode(images)
    assert latents.shape == (3, 48, 4, 6)
    assert (codec.decode(latents) - images).abs().max() < 1e-5


def test_fitted_latents_are_white():
    images = photograph("portrait_astronaut.jpg", 256)
    latents = PatchCodec.fit(images).encode(images)
    values = latents.permute(1, 0, 2, 3).flatten(1)
    assert values.mean(1).abs().max() < 1e-3
    assert (torch.cov(values) - torch.eye(16)).abs().max() < 1e-2


@pytest.mark.parametrize("name", [*PHOTOGRAPHS, *UNSEEN])
@pytest.mark.parametrize("size", [192, 256, 512])
def test_shipped_codec_keeps_photographs(shipped, name, size):
    image = photograph(name, size)
    assert decibels(shipped.decode(shipped.encode(image)), image) >= 32


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 2)])
def test_equal_cells_decode_to_equal_patches_up_to_the_edges(shipped, shape):
    cell = torch.randn(1, 16, 1, 1, generator=torch.Generator().manual_seed(0)) * 0.3
    patch = shipped.decode(cell)
    assert patch.shape == (1, 3, PATCH, PATCH)
    torch.testing.assert_close(shipped.decode(cell.expand(1, 16, *shape)), patch.repeat(1, 1, *shape))


def test_one_colour_stays_one_colour(shipped):
    colors = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    images = colors[:, :, None, None].expand(8, 3, 16, 16)
    assert (shipped.decode(shipped.encode(images)) - images).abs().max() < 1.5 / 255


@pytest.mark.parametrize("name", [*PHOTOGRAPHS, *UNSEEN])
@pytest.mark.parametrize("size", [64, 128, 512])
def test_neighbours_tell_what_a_cell_alone_does_not(shipped, name, size):
    image, plain = photograph(name, size), PatchCodec.plain(shipped.mean, shipped.basis, shipped.scale)
    latents = shipped.encode(image)
    assert torch.equal(latents, plain.encode(image))
    assert decibels(shipped.decode(latents), image) > decibels(plain.decode(latents), image) + 0.3


def test_colours_of_another_picture_leave_little_grid(shipped):
    """The colour match on latents of unseen pictures."""
    contents = ("rendered_man", "rendered_woman", "portrait_astronaut", "portrait_hopper")
    styles = ("oil", "watercolor", "pastel", "mosaic")
    latents = shipped.encode(torch.cat([photograph(f"{name}.jpg", 128) for name in contents]))
    references = shipped.encode(torch.cat([photograph(f"style_{name}.jpg", 128) for name in styles]))
    moved = transport(latents, references)
    plain = PatchCodec.plain(shipped.mean, shipped.basis, shipped.scale)
    assert mean_grid(shipped.decode(moved)) - 1 < 0.6 * (mean_grid(plain.decode(moved)) - 1)


def mean_grid(images: torch.Tensor) -> float:
    return float(np.mean([grid(image) for image in images.movedim(1, -1).numpy()]))


def test_a_fitted_decoder_keeps_the_latents_and_pictures_better():
    images = torch.cat([photograph("portrait_hopper.jpg", 64), photograph("rendered_man.jpg", 64)])
    plain = PatchCodec.fit(images)
    fitted = fitting.with_decoder(plain, images)
    latents = fitted.encode(images)
    assert torch.equal(latents, plain.encode(images))
    assert decibels(fitted.decode(latents), images) > decibels(plain.decode(latents), images)


def test_a_file_without_decoder_is_read_as_one_that_decodes_plainly(shipped):
    old = PatchCodec.from_state({name: getattr(shipped, name) for name in ("mean", "basis", "scale")})
    latents = shipped.encode(photograph("portrait_hopper.jpg", 64))
    patch = (shipped.basis * shipped.scale) @ latents[0, :, 3, 5] + shipped.mean
    expected = (patch.reshape(3, 4, 4) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(old.decode(latents)[0, :, 12:16, 20:24], expected)


def test_half_precision_and_state_round_trip(shipped):
    image = photograph("portrait_hopper.jpg", 64)
    again = PatchCodec.from_state(shipped.state())
    assert torch.equal(again.encode(image), shipped.encode(image))
    assert torch.equal(again.decode(again.encode(image)), shipped.decode(shipped.encode(image)))
    assert shipped.encode(image.double()).dtype == torch.float64


def test_preview_factors_show_the_average_colour(shipped):
    factors, bias = shipped.rgb_factors()
    image = photograph("portrait_astronaut.jpg", 128)
    preview = torch.einsum("bkhw,kc->bchw", shipped.encode(image), torch.tensor(factors))
    preview = preview + torch.tensor(bias)[None, :, None, None]
    assert (preview - torch.nn.functional.avg_pool2d(image * 2 - 1, 4)).abs().mean() < 0.01


@pytest.mark.parametrize("shape", [(1, 3, 30, 32), (1, 4, 32, 32), (3, 32, 32)])
def test_wrong_images_are_refused(shipped, shape):
    with pytest.raises(ValueError, match="multiples of 4"):
        shipped.encode(torch.zeros(shape))


def test_wrong_latents_and_states_are_refused(shipped):
    with pytest.raises(ValueError, match=r"latents \(B, 16"):
        shipped.decode(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match="missing scale"):
        PatchCodec.from_state({"mean": shipped.mean, "basis": shipped.basis})
    with pytest.raises(ValueError, match="missing bias"):
        PatchCodec.from_state({name: value for name, value in shipped.state().items() if name != "bias"})
    with pytest.raises(ValueError, match="needs mean"):
        PatchCodec(shipped.mean, shipped.basis, shipped.scale, shipped.kernel.mT[:, :, :1], shipped.bias)
    with pytest.raises(ValueError, match="48 components"):
        PatchCodec.fit(torch.rand(1, 3, 8, 8), channels=64)
