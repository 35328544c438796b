"""The small UNet that the laws are checked on, and one portrait and one style inverted with it."""

import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parent)]  # the helpers beside this file

from denoisers import Conditioning, UNetDenoiser, capture, descending, smooth_latent
from unet import ThinUNet


@pytest.fixture(scope="session", autouse=True)
def _torch_settings(one_thread_without_gradients):
    pass


@pytest.fixture(scope="session")
def unet():
    return ThinUNet(seed=0)


@pytest.fixture(scope="session")
def model(unet):
    """One conditioning, as inversion uses it."""
    return UNetDenoiser(unet, (Conditioning.random("positive", seed=1),))


@pytest.fixture(scope="session")
def guided(unet):
    """Positive and negative conditioning, mixed with a scale of 3."""
    conditionings = (Conditioning.random("positive", seed=1), Conditioning.random("negative", seed=2))
    return UNetDenoiser(unet, conditionings, cfg=3.0)


@pytest.fixture(scope="session")
def sigmas():
    """Four sampling steps."""
    return descending(4)


@pytest.fixture(scope="session")
def content(model, sigmas):
    """Bank of one 8x8 portrait in double precision."""
    return capture(model, smooth_latent(8, 8, seed=10), sigmas)[0]


@pytest.fixture(scope="session")
def style(model, sigmas):
    """Bank of one 8x8 style in double precision."""
    return capture(model, smooth_latent(8, 8, seed=20), sigmas)[0]
