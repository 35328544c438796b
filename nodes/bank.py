"""Feature banks as users handle them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from torch import Tensor

import comfy.model_management
import comfy.utils
from comfy_api.latest import io, ui

from ..magicstyle_core import __version__
from ..magicstyle_core.bank.bank import FeatureBank
from ..magicstyle_core.bank.serialization import load_bank, save_bank
from ..magicstyle_core.layers import describe
from ..magicstyle_core.schedule import format_sigmas
from ..magicstyle_core.text import plain
from . import checking, library, pictures
from .host import host
from .host.memory import readable
from .types import CATEGORY, Bank

log = logging.getLogger(__name__)


class SaveBank(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_SaveBank",
            display_name="Save Feature Bank",
            category=CATEGORY,
            description="Saves a feature bank to the style library, so that a style is inverted once and used for every later portrait.",
            search_aliases=["save style", "style library", "feature bank", "export"],
            inputs=[
                Bank.Input("bank", tooltip="A bank of any inversion node, usually that of a style picture."),
                io.String.Input(
                    "filename_prefix", default="style",
                    tooltip="Name in the library, without the number that is added; nothing is overwritten. A subfolder goes before a slash: oil/monet.",
                ),
                io.Image.Input(
                    "image", optional=True,
                    tooltip="The picture that was inverted, for the thumbnail in the file. Nothing connected means a rough one made from the latent.",
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None) -> bool | str:
        try:
            if filename_prefix is not None:  # None: it comes by a link, see execute
                library.check_prefix(filename_prefix)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, bank, filename_prefix, image=None) -> io.NodeOutput:
        shown = bank.thumbnail if image is None else pictures.eight_bit(image[:1])[0]
        paths = library.new_paths(filename_prefix, bank.bytes)
        path = save_bank(
            bank,
            next(paths),
            otherwise=paths,
            pack_version=__version__,
            thumbnail="" if shown is None else pictures.to_uri(shown),
            on_tensor=_progress(),
        )
        text = f"Saved {library.name_of(path)} ({readable(bank.bytes)})."
        host.show(text, cls.hidden.unique_id)
        return io.NodeOutput(ui=_shown(shown, text))


class LoadBank(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagicStyle_LoadBank",
            display_name="Load Feature Bank",
            category=CATEGORY,
            description="Loads a feature bank from the style library. Features stay in the file and are read as sampling needs them.",
            search_aliases=["load style", "style library", "feature bank", "import"],
            inputs=[
                io.Combo.Input(
                    "name", options=library.names(),
                    tooltip="A bank in the model folder magicstyle_banks. It fits the model, steps and scheduler that it was made with.",
                ),
            ],
            outputs=[
                Bank.Output(display_name="bank", tooltip="The saved bank: trajectory and features, bit for bit."),
                io.Image.Output(display_name="thumbnail", tooltip="A small picture of what was inverted; black if the file has none."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        try:
            return name is None or library.find(name) is not None  # None: it comes by a link, see execute
        except ValueError as error:
            return checking.printable(str(error))

    @classmethod
    def fingerprint_inputs(cls, name=None) -> str | float:
        if name is None:
            return float("nan")  # it comes by a link, and nobody knows here which file that will be
        try:
            found = library.find(name).stat()
        except (ValueError, OSError):
            return ""
        # The last tells a file that went and came back, which the bank of an earlier run may not read any more.
        return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"

    @classmethod
    def execute(cls, name) -> io.NodeOutput:
        bank = load_bank(library.find(name), pictures.from_uri)
        return io.NodeOutput(bank, pictures.as_image(bank.thumbnail), ui=_shown(bank.thumbnail))


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
        return io.NodeOutput(text, ui=_shown(bank.thumbnail, text))


def _shown(picture: Tensor | None, text: str = "") -> dict:
    """What a node shows: a picture ``(h,w,3)`` uint8, a text, or both."""
    shown = {"text": (text,)} if text else {}
    if picture is None:
        return shown
    try:
        return ui.PreviewImage(pictures.as_image(picture)).as_dict() | shown
    except OSError as error:
        log.warning("The picture of the bank cannot be shown: %s. Make room in the temp folder.", error.strerror or error)
        return shown


def _progress() -> Callable[[int, int], None]:
    """The host's bar while a bank is saved; raises when the user cancels."""
    bar = comfy.utils.ProgressBar(1)

    def on_tensor(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done + 1, total)

    return on_tensor


def bank_text(bank: FeatureBank) -> str:
    way = bank.trajectory
    height, width = way.size
    # The host's newer rendering of nodes joins lines, hence the full stops.
    return "\n".join(
        [
            f"Images: {way.batch}, latent {width} x {height}.",
            f"Steps: {way.steps}, method {plain(way.method)}.",
            f"Sigmas: {format_sigmas(way.sigmas.flip(0))}.",
            f"Layers: {describe(bank.layers)}.",
            f"Features: {_kept(bank)}.",
            f"Size: {readable(bank.bytes)}, of which the trajectory {readable(bank.trajectory.bytes)}.",
            f"Model: {plain(str(bank.model), 1000)}.",
        ]
    )


PLACES = {"gpu": "on the GPU", "cpu": "in RAM", "disk": "on disk", "recompute": "computed while sampling, none kept"}


def _kept(bank: FeatureBank) -> str:
    """Of which steps features are kept, where, and as what."""
    place = PLACES[bank.store.storage]
    if bank.recomputed or not bank.layers:
        return place if bank.layers else "none"
    kept, covered = len(set(bank.kept_for.values())), len(bank.kept_for)
    return f"of {kept} steps, read at {covered}, {bank.precision}, {place}"
