"""What inversion keeps of a picture: its trajectory and the inputs of self-attention, in memory or in a file."""
