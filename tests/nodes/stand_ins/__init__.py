"""Nodes that tests need and the pack does not: thin models, random latents, pictures and conditionings, and a sink."""

import torch
from thin_models import CLASSES, build


class _Node:
    CATEGORY = "test"
    FUNCTION = "run"


class Model(_Node):
    """A thin random model."""

    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {
            "required": {
                "layout": (list(CLASSES),),
                "seed": ("INT", {"default": 0}),
                "v_prediction": ("BOOLEAN", {"default": False}),
            }
        }

    def run(self, layout, seed, v_prediction):
        return (build(layout, seed, v_prediction),)


class Latent(_Node):
    """A random latent; ``value`` overwrites one number."""

    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {
            "required": {
                "seed": ("INT", {"default": 0}),
                "batch": ("INT", {"default": 1}),
                "height": ("INT", {"default": 16}),
                "width": ("INT", {"default": 16}),
                "channels": ("INT", {"default": 4}),
                "value": ("STRING", {"default": ""}),
            }
        }

    def run(self, seed, batch, height, width, channels, value):
        generator = torch.Generator().manual_seed(seed)
        samples = torch.randn(batch, channels, height, width, generator=generator) / 0.18215
        if value:
            samples[0, 0, 0, 0] = float(value)
        return ({"samples": samples},)


class Image(_Node):
    """Pictures of random colours, each of its own seed."""

    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {
            "required": {
                "seed": ("INT", {"default": 0}),
                "batch": ("INT", {"default": 1}),
                "height": ("INT", {"default": 16}),
                "width": ("INT", {"default": 16}),
                "channels": ("INT", {"default": 3}),
            }
        }

    def run(self, seed, batch, height, width, channels):
        generators = (torch.Generator().manual_seed(seed + i) for i in range(batch))
        return (torch.stack([torch.rand(height, width, channels, generator=g) for g in generators]),)


class Prompt(_Node):
    """A random text conditioning."""

    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {
            "required": {
                "seed": ("INT", {"default": 0}),
                "tokens": ("INT", {"default": 77}),
                "width": ("INT", {"default": 64}),
            }
        }

    def run(self, seed, tokens, width):
        generator = torch.Generator().manual_seed(seed)
        context = torch.randn(1, tokens, width, generator=generator)
        return ([[context, {"pooled_output": torch.zeros(1, 1280)}]],)


class Keep(_Node):
    """Hands a value to the test, in every run."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    kept = None

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"value": ("*",), "name": ("STRING", {"default": ""})}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):  # noqa: N802
        return True

    @classmethod
    def IS_CHANGED(cls, **inputs):  # noqa: N802
        return float("nan")

    def run(self, value, name):
        self.kept[name] = value
        return {}


NODE_CLASS_MAPPINGS = {
    "TestModel": Model,
    "TestLatent": Latent,
    "TestImage": Image,
    "TestPrompt": Prompt,
    "TestKeep": Keep,
}
