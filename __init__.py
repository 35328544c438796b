"""MagicStyle for ComfyUI: repaint a portrait in the manner of a reference picture, without training."""

WEB_DIRECTORY = "./web"
__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]

# Test runners import this file outside of a package, where the relative import cannot work.
if __package__:
    from .nodes import comfy_entrypoint
