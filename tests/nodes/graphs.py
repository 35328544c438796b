"""The pack's graphs in API format: the paper's queries and AdaIN unless a test says otherwise, the rest at defaults."""

INVERSION = {
    "steps": 4, "scheduler": "ddim_uniform", "method": "exact", "layers": "all", "storage": "cpu",
    "precision": "fp32",
}  # fmt: skip
PATCH = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "layers": "all", "rows": "all"}
PAPER = {"beta": 0.2, "keys": "style", "queries": "stored", "temperature": 1.0}
MATCHED = {"beta": 0.4, "queries": "matched"}
LOOK = {"detail": 1.0, "color": "adain", "color_strength": 1.0, "texture": 0.0, "start_step": 0}
SAMPLER = {"cfg": 1.0, "style_strength": 1.0}


def fusion(method=None, **changes):
    """FFA's inputs: those of a method with its dials, or of the custom attention that has the given dials."""
    patch = {name: changes.pop(name, value) for name, value in PATCH.items()}
    others = {name: changes.pop(name) for name in ("model", "content_bank", "style_bank") if name in changes}
    if method is None:
        changes = {**PAPER, **changes}
        joined = "+" in changes["keys"]
        changes |= {"style_scale": 1.0, "style_weight": 1.0, **changes} if joined else {}
        method = "Custom, joined keys" if joined else "Custom"
    return {"method": method, **{f"method.{name}": value for name, value in changes.items()}, **patch, **others}


def look(**changes):
    """A sampler's inputs that say how it starts and ends: its own, or those of ``look="as the method"``."""
    if changes.get("look") == "as the method":
        return changes
    dials = {name: changes.pop(name, value) for name, value in LOOK.items()}
    return {"look": "own", **{f"look.{name}": value for name, value in dials.items()}, **changes}


FFA = fusion()
FFF = look(**SAMPLER)
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


def ffa(source="model", content=True, **changes):
    banks = {"content_bank": ["csdi", 0]} if content else {}
    return node("MagicStyle_FFA", **{"model": [source, 0], "style_bank": ["csdi", 1], **banks, **fusion(**changes)})


def fff(source, style=True, **changes):
    banks = {"content_bank": ["csdi", 0], **({"style_bank": ["csdi", 1]} if style else {})}
    return node("MagicStyle_FusedSampler", model=[source, 0], **{**banks, **SAMPLER, **look(**changes)})


def ddim(content=True, style=True, **changes):
    """DDIM Sampler."""
    banks = {**({"content_bank": ["csdi", 0]} if content else {}), **({"style_bank": ["csdi", 1]} if style else {})}
    return node("MagicStyle_Sampler", **{"style_strength": 1.0, **banks, **look(**changes)})


def custom(sampler, source="ffa", latent=("csdi", 2), cfg=1.0):
    """The host's SamplerCustom on the banks' schedule and noise, told what our nodes are that are told nothing; keeps
    "custom"."""
    return {
        "text": node("TestPrompt", seed=1, tokens=77, width=64),
        "zero": node("ConditioningZeroOut", conditioning=["text", 0]),
        "sampler": sampler,
        "sigmas": node("MagicStyle_Sigmas", bank=["csdi", 0]),
        "custom": node(
            "SamplerCustom", model=[source, 0], add_noise=False, noise_seed=3, cfg=cfg, positive=["zero", 0],
            negative=["zero", 0], sampler=["sampler", 0], sigmas=["sigmas", 0], latent_image=list(latent),
        ),
        "keep custom": keep(["custom", 0], "custom"),
    }  # fmt: skip


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
