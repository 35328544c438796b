"""What turns pictures (B, 3, H, W) in 0..1 into latents of about unit variance, and back."""

from ..codec import PatchCodec
from .autoencoder import TinyAutoencoder

Codec = PatchCodec | TinyAutoencoder
