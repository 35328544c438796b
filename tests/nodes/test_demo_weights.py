"""The demo model's weights files in the host: our own layout in its UNet class, the stock one through its loader."""

import json
from pathlib import Path

import torch

import comfy.ops
import comfy.sd
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from demo.train.autoencoder import TinyAutoencoder
from demo.train.checkpoint import read_tensors
from demo.train.export import UNET_PREFIX, export_stock, load, smooth_random_unet
from demo.train.unet import STOCK

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


def test_the_hosts_loader_reads_a_stock_file_as_training_does(tmp_path):
    path = tmp_path / "stock.safetensors"
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 64, 64, generator=generator)
    vae = TinyAutoencoder().requires_grad_(False)
    vae.normalize(images)
    export_stock(path, smooth_random_unet(STOCK), vae, {"stages": []})
    unet, codec, _ = load(path)
    model, _, host_vae, _ = comfy.sd.load_checkpoint_guess_config(str(path), output_vae=True, output_clip=False)

    latents = host_vae.encode(images.movedim(1, -1)) * 0.18215
    torch.testing.assert_close(latents, codec.encode(images), atol=2e-3, rtol=0)
    decoded = host_vae.decode(latents / 0.18215).movedim(-1, 1)
    torch.testing.assert_close(decoded, codec.decode(latents), atol=2e-3, rtol=0)

    x, t = torch.randn(1, 4, 8, 8, generator=generator), torch.tensor([700.0])
    context = torch.randn(1, 7, 768, generator=generator)
    with torch.no_grad():
        theirs, ours = model.model.diffusion_model(x, t, context=context), unet(x, t)
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)
