"""Thin models whose weights are kept in other ways than as plain fp32: by the host's quantized operations, as GGUF
files are, and by the host's precision flags."""

from __future__ import annotations

import enum
import json

import torch
import torch.nn.functional as F
from thin_models import CLASSES, build
from torch import Tensor

import comfy.ops
import comfy.quant_ops
from comfy.model_base import ModelType
from comfy.model_patcher import ModelPatcher

BLOCK = 32  # numbers that share a scale
HOSTS = {
    name: format
    for name, format in (
        ("scaled fp8", "float8_e4m3fn"), ("scaled fp8, wide", "float8_e5m2"), ("int8", "int8_tensorwise"),
    )
    if format in comfy.quant_ops.QUANT_ALGOS
}  # fmt: skip
FLAGS = {"--fp16-unet": torch.float16, "--bf16-unet": torch.bfloat16, "--fp8_e4m3fn-unet": torch.float8_e4m3fn}


class PackedType(enum.IntEnum):
    Q8_0 = 8


class PackedTensor(Tensor):
    """A weight as bytes, of which ``shape`` says what they stand for."""

    def __new__(cls, data: Tensor, tensor_shape: torch.Size, tensor_type: PackedType = PackedType.Q8_0):
        made = super().__new__(cls, data)
        made.tensor_shape, made.tensor_type = tensor_shape, tensor_type
        return made

    @property
    def shape(self):
        return self.tensor_shape

    def to(self, *args, **kwargs):
        return PackedTensor(super().to(*args, **kwargs), self.tensor_shape, self.tensor_type)

    def clone(self, *args, **kwargs):
        return self

    def detach(self, *args, **kwargs):
        return self

    @classmethod
    def pack(cls, weight: Tensor) -> PackedTensor:
        blocks = weight.reshape(-1, BLOCK)
        scale = (blocks.abs().amax(1, keepdim=True) / 127).half()
        numbers = (blocks / scale.float()).round().clamp(-127, 127).to(torch.int8)
        return cls(torch.cat([scale.view(torch.uint8), numbers.view(torch.uint8)], 1), weight.shape)

    def unpack(self) -> Tensor:
        blocks = self.as_subclass(Tensor)
        scale, numbers = blocks[:, :2].contiguous().view(torch.float16), blocks[:, 2:].contiguous().view(torch.int8)
        return (scale.float() * numbers).view(self.tensor_shape)


class PackedOps(comfy.ops.manual_cast):
    class Linear(comfy.ops.manual_cast.Linear):
        def _load_from_state_dict(self, state_dict, prefix, *args):
            self.weight = torch.nn.Parameter(state_dict[f"{prefix}weight"], requires_grad=False)
            if f"{prefix}bias" in state_dict:
                self.bias = torch.nn.Parameter(state_dict[f"{prefix}bias"], requires_grad=False)

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            destination[f"{prefix}weight"] = torch.zeros(self.weight.shape, device="meta")

        def forward_comfy_cast_weights(self, input):
            weight = self.weight
            return F.linear(input, weight.unpack() if isinstance(weight, PackedTensor) else weight, self.bias)


def quantized(kept: str, seed: int = 0, layout: str = "SD15") -> ModelPatcher:
    """The model that ``build`` makes, its weights kept in another way."""
    plain = build(layout, seed).model.diffusion_model
    weights = {name: value.detach() for name, value in plain.state_dict().items()}
    config_class, unet_config, model_class = CLASSES[layout]
    config = config_class({**unet_config})
    config.unet_config, config.manual_cast_dtype = {**unet_config}, None
    linear = {f"{name}.weight" for name, module in plain.named_modules() if isinstance(module, torch.nn.Linear)}
    if kept in FLAGS:
        config.manual_cast_dtype, config.unet_config["dtype"] = torch.float32, FLAGS[kept]
        weights = {name: value.to(FLAGS[kept]) for name, value in weights.items()}
    elif kept == "GGUF":
        config.custom_operations = PackedOps
        weights |= {name: PackedTensor.pack(weights[name]) for name in linear if not weights[name].numel() % BLOCK}
    else:
        config.custom_operations = comfy.ops.mixed_precision_ops({}, torch.float32, full_precision_mm=True)
        formats = list(HOSTS.values()) if kept == "mixed" else [HOSTS[kept]]
        for number, name in enumerate(sorted(linear)):
            weights |= _host_format(name.removesuffix(".weight"), weights[name], formats[number % len(formats)])
    model = model_class(config, model_type=ModelType.EPS)
    model.diffusion_model.load_state_dict(weights, strict=False)
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def _host_format(name: str, weight: Tensor, format: str) -> dict[str, Tensor]:
    dtype = comfy.quant_ops.QUANT_ALGOS[format]["storage_t"]
    largest = torch.finfo(dtype).max if dtype.is_floating_point else torch.iinfo(dtype).max
    scale = weight.abs().max() / largest
    scaled = weight / scale
    described = torch.tensor(list(json.dumps({"format": format}).encode()), dtype=torch.uint8)
    return {
        f"{name}.weight": (scaled if dtype.is_floating_point else scaled.round()).to(dtype),
        f"{name}.weight_scale": scale,
        f"{name}.comfy_quant": described,
    }
