"""Edit a prompt in API format: find nodes, set inputs, add a branch that samples without style."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from .client import Prompt
from .report import DevError

SAMPLER, INVERSION, DECODE, SAVE = "MagicStyle_FusedSampler", "MagicStyle_CSDI", "VAEDecode", "SaveImage"


class Graph:
    """A prompt, and the few questions and changes that the demo needs."""

    def __init__(self, prompt: Prompt, name: str = "prompt") -> None:
        self.nodes, self.name = copy.deepcopy(prompt), name

    @classmethod
    def load(cls, file: Path) -> Graph:
        try:
            return cls(json.loads(file.read_text(encoding="utf-8")), file.name)
        except (OSError, ValueError) as error:
            raise DevError(
                f"{file} cannot be read: {error}", "Restore the file from the repository."
            ) from error

    def title(self, node: str) -> str:
        return self.nodes[node].get("_meta", {}).get("title") or self.nodes[node]["class_type"]

    def one(self, kind: str, title: str | None = None) -> str:
        """The id of the only node of this kind (and title)."""
        found = [
            i
            for i, node in self.nodes.items()
            if node["class_type"] == kind and (title is None or self.title(i).lower() == title.lower())
        ]
        if len(found) != 1:
            wanted = f"{kind} titled {title!r}" if title else kind
            raise DevError(f"{self.name} has {len(found)} nodes {wanted}; the demo needs exactly one.")
        return found[0]

    def reader(self, source: str, kind: str) -> str:
        """The id of the only node of this kind that reads an output of ``source``."""
        found = [
            i
            for i, node in self.nodes.items()
            if node["class_type"] == kind
            and any(isinstance(v, list) and v and v[0] == source for v in node["inputs"].values())
        ]
        if len(found) != 1:
            raise DevError(
                f"{self.name}: {len(found)} nodes {kind} read from {self.title(source)}; one is expected."
            )
        return found[0]

    def set(self, node: str, **inputs: object) -> None:
        self.nodes[node]["inputs"].update(inputs)

    def add(self, original: str, title: str, of: Graph | None = None, **inputs: object) -> str:
        """A copy of a node (of another prompt, where one is given) with other inputs; an input of None is left out."""
        new = str(max(int(i) for i in self.nodes if i.isdigit()) + 1)
        node = copy.deepcopy((of or self).nodes[original])
        node["inputs"] = {k: v for k, v in {**node["inputs"], **inputs}.items() if v is not None}
        node["_meta"] = {"title": title}
        self.nodes[new] = node
        return new

    def result(self) -> tuple[str, str]:
        """The fused sampler, and the node that saves what it makes."""
        sampler = self.one(SAMPLER)
        return sampler, self.reader(self.reader(sampler, DECODE), SAVE)

    def add_reconstruction(self) -> tuple[str, str]:
        """The way back with the model as loaded and no style: sampler and saver."""
        fused, saver = self.result()
        plain = self.add(
            fused,
            "Without style",
            model=self.nodes[self.one(INVERSION)]["inputs"]["model"],
            style_bank=None,
        )
        decode = self.add(self.reader(fused, DECODE), "Decode without style", samples=[plain, 0])
        return plain, self.add(
            saver, "Save without style", images=[decode, 0], filename_prefix="reconstruction"
        )
