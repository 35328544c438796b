"""Pictures painted by the demo model through the pack's nodes, at their defaults: what a graph of them gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from _host import defaults
from _nodes import fuse, sample
from magicstyle.magicstyle_core.bank.bank import FeatureBank
from magicstyle.nodes.demo_model import LoadDemoModel
from magicstyle.nodes.inversion import DDIMInversion
from PIL import Image

Picture = np.ndarray  # (S, S, 3) in 0..1


class Painter:
    """The demo model, for pictures of ``size`` pixels."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.model, self.vae, _ = LoadDemoModel.execute(**defaults(LoadDemoModel)).args

    def load(self, file: Path) -> Picture:
        """A picture file at the painter's size."""
        picture = Image.open(file).convert("RGB").resize((self.size, self.size), Image.Resampling.LANCZOS)
        return np.array(picture, np.float32) / 255

    def invert(self, picture: Picture) -> FeatureBank:
        """All layers, as in workflows/magicstyle_demo.json."""
        latent = {"samples": self.vae.encode(torch.from_numpy(picture)[None])}
        return DDIMInversion.execute(self.model, latent, **defaults(DDIMInversion, layers="all")).args[0]

    def stylize(self, content: FeatureBank, style: FeatureBank, method: str) -> Picture:
        """The content in the manner of the style."""
        samples = sample(fuse(self.model, content, style, method), content, style)
        return self.vae.decode(samples)[0].numpy()
