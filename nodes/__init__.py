"""ComfyUI adapters of magicstyle_core, and the list of nodes that this pack publishes."""

from comfy_api.latest import ComfyExtension, io

from . import library
from .bank import BankInfo, LoadBank, SaveBank
from .checking import checked
from .colors import KeepColors
from .demo_model import LoadDemoModel
from .fusion import FFAAttentionPatch
from .inversion import ContentStyleInversion, DDIMInversion
from .sampling import BankSchedule, DDIMSampler, FusedSampler
from .sweep import AlphaBetaSweep


class MagicStyleExtension(ComfyExtension):
    async def on_load(self) -> None:
        library.register()
        library.tidy()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        published = [
            ContentStyleInversion,
            DDIMInversion,
            FFAAttentionPatch,
            FusedSampler,
            AlphaBetaSweep,
            DDIMSampler,
            BankSchedule,
            KeepColors,
            BankInfo,
            SaveBank,
            LoadBank,
            LoadDemoModel,
        ]
        return [checked(node) for node in published]


async def comfy_entrypoint() -> MagicStyleExtension:
    return MagicStyleExtension()
