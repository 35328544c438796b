"""Portraits and picture styles rendered from seeds: training pictures and known truth of the demo model.

portrait = scene(7)                      # parameters
image, masks = render(portrait, 256)     # float32 (256, 256, 3) in 0..1 and soft masks (256, 256)
image, masks = render(portrait, 256, "cuda")  # the same in torch tensors
"""

from .casting import scene
from .portrait import render
from .scene import Scene

__all__ = ["Scene", "render", "scene"]
