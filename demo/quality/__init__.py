"""Truth benchmark: how well a method repaints rendered people whose picture in the style is known.

The renderer draws a person and the same person in a style, so a result is compared with the truth itself. Pictures
are float32 numpy (S, S, 3) in 0..1 everywhere.
"""
