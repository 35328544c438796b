"""The demo model's patch codec."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from demo.codec import PatchCodec

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
        return PatchCodec.from_state({name: file.get_tensor(f"codec.{name}") for name in ("mean", "basis", "scale")})


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


@pytest.mark.parametrize("name", ["portrait_astronaut.jpg", "portrait_hopper.jpg"])
@pytest.mark.parametrize("size", [192, 256, 512])
def test_shipped_codec_keeps_photographs(shipped, name, size):
    image = photograph(name, size)
    assert decibels(shipped.decode(shipped.encode(image)), image) >= 32


def test_half_precision_and_state_round_trip(shipped):
    image = photograph("portrait_hopper.jpg", 64)
    again = PatchCodec.from_state(shipped.state())
    assert torch.equal(again.encode(image), shipped.encode(image))
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
    with pytest.raises(ValueError, match="needs mean"):
        PatchCodec(shipped.mean, shipped.basis.T, shipped.scale)
    with pytest.raises(ValueError, match="48 components"):
        PatchCodec.fit(torch.rand(1, 3, 8, 8), channels=64)
