"""MagicStyle's method in torch alone: inversion, feature banks and fused attention.

Knows no host. The nodes of this pack adapt it to ComfyUI; anything with a denoiser and self-attention hooks
could do the same.
"""

__version__ = "0.1.0"
