"""One dial for the whole style, from the portrait itself to an exaggerated style."""

from __future__ import annotations

from typing import NamedTuple


class StyleStrength(NamedTuple):
    """0 is reconstruction, 1 what all settings say, 2 the most that still brings the picture closer to the style.

    Above 1 colours have arrived and attention goes on, half as fast: on the demo model colour and texture come closer
    to the style up to fused attention of strength 1.5, and not any more at 2 (means of 24 pairs, docs/quality.md).
    """

    value: float = 1.0

    @property
    def attention(self) -> float:
        """What multiplies the strength of fused attention."""
        return self.value if self.value <= 1 else 1 + (self.value - 1) / 2

    @property
    def look(self) -> float:
        """What multiplies the shares of the style's colours and pieces."""
        return min(self.value, 1.0)
