"""The demo model: renderer of its training pictures, training, weights."""
