"""The portrait graph's nodes on checkpoints of the SD 1.5 layout, through the stock loader."""

import pytest
import torch
from graphs import FFA, FFF, INVERSION, SAMPLER, error_of, keep, latent, look, node
from thin_models import fill, fill_unet

import comfy.sd
import comfy.utils

# The smallest that the host's detection takes for SD 1.5, with attention at one and at two resolutions.
LAYOUTS = {
    "one resolution": {
        "channel_mult": [1], "num_res_blocks": [1], "transformer_depth": [1], "transformer_depth_output": [1, 1],
    },
    "two resolutions": {
        "channel_mult": [1, 1], "num_res_blocks": [1, 1], "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1],
    },
}  # fmt: skip
HIGH_RES = {"one resolution": 2, "two resolutions": 4}


def checkpoint(folder, layout):
    """Write a random checkpoint with a TAESD autoencoder; return its name."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.taesd.taesd import TAESD

    config = {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "context_dim": 768,
        "num_heads": 8, "num_head_channels": -1, "use_spatial_transformer": True, "transformer_depth_middle": 1,
        "use_linear_in_transformer": False, "adm_in_channels": None, "use_temporal_attention": False, "legacy": False,
        **LAYOUTS[layout],
    }  # fmt: skip
    unet = UNetModel(**config, dtype=torch.float32, device="cpu")
    fill_unet(unet, seed=0)
    tensors = {f"model.diffusion_model.{key}": value.half() for key, value in unet.state_dict().items()}
    taesd = TAESD(latent_channels=4)
    fill(taesd, seed=1)
    tensors |= {f"first_stage_model.{key}": value.half() for key, value in taesd.state_dict().items()}
    tensors["first_stage_model.vae_scale"] = torch.tensor(0.18215)
    tensors["first_stage_model.vae_shift"] = torch.tensor(0.0)
    name = f"{layout.replace(' ', '_')}.safetensors"
    comfy.utils.save_torch_file(tensors, str(folder / name))
    return name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stock_loader_to_stylized_latent_and_picture(run, host, layout, caplog):
    name = checkpoint(host / "models" / "checkpoints", layout)
    size = {"height": 8, "width": 8}
    bank = {"content_bank": ["csdi", 0]}
    graph = {
        "load": node("CheckpointLoaderSimple", ckpt_name=name),
        "content": latent(1, **size),
        "style": latent(2, **size),
        "prompt": node("TestPrompt", seed=3, tokens=77, width=768),
        "csdi": node(
            "MagicStyle_CSDI", model=["load", 0], content=["content", 0], style=["style", 0],
            conditioning=["prompt", 0], **{**INVERSION, "layers": "high-res decoder", "steps": 3},
        ),
        "ffa": node("MagicStyle_FFA", model=["load", 0], **bank, style_bank=["csdi", 1], **FFA),
        "fff": node(
            "MagicStyle_FusedSampler", model=["ffa", 0], **bank, positive=["prompt", 0], **SAMPLER, **look(color="none")
        ),
        "plain": node("MagicStyle_FusedSampler", model=["load", 0], **bank, positive=["prompt", 0], **FFF),
        "image": node("VAEDecode", samples=["fff", 0], vae=["load", 2]),
        **{f"keep {kept}": keep([kept, 0], kept) for kept in ("content", "csdi", "fff", "plain", "image")},
    }  # fmt: skip
    kept = run(graph)
    assert "unet missing" not in caplog.text
    assert len(kept["csdi"].layers) == HIGH_RES[layout]
    assert error_of(kept["plain"], kept["content"]) < 1e-3
    assert error_of(kept["fff"], kept["plain"]) > 1e-4
    assert kept["image"].shape == (1, 64, 64, 3)
    assert torch.isfinite(kept["image"]).all()
