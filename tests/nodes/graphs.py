"""The pack's graphs in API format: the paper's queries and AdaIN unless a test says otherwise, the rest at defaults."""

INVERSION = {
    "steps": 4, "scheduler": "ddim_uniform", "method": "exact", "layers": "all", "storage": "cpu",
    "precision": "fp32", "iterations": 1,
}  # fmt: skip
FFA = {
    "alpha": 0.8, "beta": 0.2, "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "keys": "style",
    "queries": "stored", "temperature": 1.0, "layers": "all", "rows": "all",
}  # fmt: skip
MATCHED = {"alpha": 0.6, "beta": 0.4, "queries": "matched"}
LOOK = {"detail": 1.0, "color": "adain", "color_strength": 1.0, "texture": 0.0}
FFF = {**LOOK, "cfg": 1.0, "start_step": 0}
LATENT = {"batch": 1, "height": 16, "width": 16, "channels": 4, "value": ""}


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def keep(value, name):
    return node("TestKeep", value=value, name=name)


def latent(seed, **changes):
    return node("TestLatent", seed=seed, **{**LATENT, **changes})


def model(layout="SD15", seed=0, v_prediction=False):
    return node("TestModel", layout=layout, seed=seed, v_prediction=v_prediction)


def csdi(content=None, style=None, loader=None, **inversion):
    """Loader, two latents and their inversion."""
    return {
        "model": loader or model(),
        "content": latent(1, **(content or {})),
        "style": latent(2, **(style or {})),
        "csdi": node(
            "MagicStyle_CSDI", model=["model", 0], content=["content", 0], style=["style", 0],
            **{**INVERSION, **inversion},
        ),
        "keep content": keep(["content", 0], "content"),
    }  # fmt: skip


def ffa(source="model", **changes):
    inputs = {"model": [source, 0], "content_bank": ["csdi", 0], "style_bank": ["csdi", 1], **FFA, **changes}
    return node("MagicStyle_FFA", **inputs)


def fff(source, style=True, **changes):
    inputs = {"style_bank": ["csdi", 1]} if style else {}
    return node("MagicStyle_FusedSampler", model=[source, 0], content_bank=["csdi", 0], **{**inputs, **FFF, **changes})


def full(ffa_changes=None, fff_changes=None, **csdi_changes):
    """The whole graph: keeps "content", "result" and "plain" (the portrait sampled without style)."""
    fff_changes = fff_changes or {}
    return {
        **csdi(**csdi_changes),
        "ffa": ffa(**(ffa_changes or {})),
        "fff": fff("ffa", **fff_changes),
        "plain": fff("model", style=False, **fff_changes),
        "keep result": keep(["fff", 0], "result"),
        "keep plain": keep(["plain", 0], "plain"),
    }


def error_of(a, b):
    """Relative distance of two LATENTs."""
    a, b = a["samples"], b["samples"]
    return float((a - b).norm() / b.norm())
