"""Socket types and names that all nodes of the pack share."""

from comfy_api.latest import io

CATEGORY = "MagicStyle"

Bank = io.Custom("MAGICSTYLE_BANK")
