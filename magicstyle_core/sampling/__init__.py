"""The ways from picture to noise and back, on latents alone."""
