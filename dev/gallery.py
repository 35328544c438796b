"""A prompt that paints several portraits in several styles and inverts every picture once."""

from __future__ import annotations

from collections.abc import Sequence

from .graph import DECODE, SAMPLER, SAVE, Graph

Link = list[object]  # [node, output] of a prompt


class Gallery:
    """The portraits in one batch, a branch for each style and one without; the nodes are those of a template.

    ``graph`` is what to run; ``savers`` gives the SaveImage node of each style, and under None that of the portraits
    as they come back without one. Each saves one picture per portrait.
    """

    def __init__(self, template: Graph, portraits: Sequence[str], styles: Sequence[str], size: int) -> None:
        self._template, self._size = template, size
        loader = template.one("MagicStyle_DemoModel")
        self.graph = Graph({loader: template.nodes[loader]}, "the gallery")
        images = {f"images.image{i}": self._picture(name) for i, name in enumerate(portraits)}
        self._content = self._bank("portraits", self._add("BatchImagesNode", "Portraits", **images))
        self.savers: dict[str | None, str] = {}
        self.savers[None] = self._branch("without style", [loader, 0], None)
        for name in styles:
            style = self._bank(name, self._picture(name))
            banks = {"content_bank": self._content, "style_bank": style}
            model = self._add("MagicStyle_FFA", f"Fuse with {name}", **banks)
            self.savers[name] = self._branch(name, model, style)

    def _add(self, kind: str, title: str, **inputs: object) -> Link:
        """A copy of the template's first node of this kind; what differs between several is set anew."""
        original = next(i for i, node in self._template.nodes.items() if node["class_type"] == kind)
        return [self.graph.add(original, title, self._template, **inputs), 0]

    def _picture(self, name: str) -> Link:
        loaded = self._add("LoadImage", f"Load {name}", image=name)
        sides = {"width": self._size, "height": self._size}
        return self._add("ImageScale", f"Size of {name}", image=loaded, **sides)

    def _bank(self, name: str, image: Link) -> Link:
        encoded = self._add("VAEEncode", f"Encode {name}", pixels=image)
        return self._add("MagicStyle_Invert", f"Invert {name}", latent=encoded)

    def _branch(self, name: str, model: Link, style: Link | None) -> str:
        banks = {"content_bank": self._content, "style_bank": style}
        sampled = self._add(SAMPLER, f"Sample {name}", model=model, **banks)
        decoded = self._add(DECODE, f"Decode {name}", samples=sampled)
        saved, _ = self._add(SAVE, f"Save {name}", images=decoded, filename_prefix="gallery")
        return str(saved)
