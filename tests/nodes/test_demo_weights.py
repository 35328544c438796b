"""The demo model's weights file in the host's own UNet class."""

import json
from pathlib import Path

import torch

import comfy.ops
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from demo.train.checkpoint import read_tensors
from demo.train.export import UNET_PREFIX, load

WEIGHTS = Path(__file__).resolve().parents[2] / "demo" / "magicstyle_demo.safetensors"


def test_file_is_small_and_described():
    _, metadata = read_tensors(WEIGHTS)
    assert WEIGHTS.stat().st_size <= 10e6
    assert metadata["format"] == "magicstyle-demo"
    assert metadata["version"] == "1"
    assert {"steps", "samples", "size", "seed"} <= set(json.loads(metadata["training"]))


def test_host_predicts_the_same_noise_as_the_training_network():
    tensors, metadata = read_tensors(WEIGHTS, UNET_PREFIX)
    config = json.loads(metadata["unet_config"])
    host = UNetModel(**config, dtype=torch.float32, operations=comfy.ops.disable_weight_init)
    host.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True)
    ours = load(WEIGHTS)[0]
    generator = torch.Generator().manual_seed(0)
    for shape in ((2, 16, 16, 16), (1, 16, 12, 20)):
        x, t = torch.randn(shape, generator=generator), torch.tensor([3.0, 700.0])[: shape[0]]
        with torch.no_grad():
            expected = ours(x, t)
            for context in (torch.zeros(1, 1, 64), torch.randn(1, 5, 64, generator=generator)):
                assert (host(x, t, context=context.expand(len(x), -1, -1)) - expected).abs().max() < 1e-4
