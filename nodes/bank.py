"""Feature banks as users handle them."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..magicstyle_core.bank import FeatureBank
from ..magicstyle_core.layers import describe
from ..magicstyle_core.schedule import format_sigmas
from ..magicstyle_core.storage import readable
from . import host
from .types import CATEGORY, Bank


class BankInfo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_BankInfo",
            display_name="Inspect Feature Bank",
            category=CATEGORY,
            description="Shows what a feature bank holds: images, steps, noise levels, layers, memory and model.",
            search_aliases=["feature bank", "bank size", "memory"],
            inputs=[Bank.Input("bank", tooltip="A bank of any inversion node.")],
            outputs=[io.String.Output(display_name="text", tooltip="The same text, for other nodes.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, bank=None) -> float:
        return float("nan")  # never cached: the page forgets the text when it is reloaded

    @classmethod
    def execute(cls, bank) -> io.NodeOutput:
        text = bank_text(bank)
        host.show(text, cls.hidden.unique_id)
        return io.NodeOutput(text, ui=ui.PreviewText(text))


def bank_text(bank: FeatureBank) -> str:
    way = bank.trajectory
    height, width = way.size
    # The host's newer rendering of nodes joins lines, hence the full stops.
    return "\n".join(
        [
            f"Images: {way.batch}, latent {width} x {height}.",
            f"Steps: {way.steps}, method {way.method}.",
            f"Sigmas: {format_sigmas(way.sigmas.flip(0))}.",
            f"Layers: {describe(bank.layers)}.",
            f"Features: {_kept(bank)}.",
            f"Size: {readable(bank.bytes)}, of which the trajectory {readable(bank.trajectory.bytes)}.",
            f"Model: {bank.model}.",
        ]
    )


PLACES = {"gpu": "on the GPU", "cpu": "in RAM", "disk": "on disk", "live": "computed while sampling, none kept"}


def _kept(bank: FeatureBank) -> str:
    """Of which steps features are kept, where, and as what."""
    place = PLACES[bank.store.storage]
    if bank.store.storage == "live" or not bank.layers:
        return place if bank.layers else "none"
    kept, covered = len(set(bank.kept_for.values())), len(bank.kept_for)
    return f"of {kept} steps, read at {covered}, {bank.precision}, {place}"
