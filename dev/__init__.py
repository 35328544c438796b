"""What ``dev.py`` is made of. Standard library only, so that a clone and a Python are enough to start."""
