"""The pack's nodes as functions, at their defaults but for what is named."""

from __future__ import annotations

from _host import defaults
from _subjects import Subject
from magicstyle.magicstyle_core.bank.bank import FeatureBank
from magicstyle.magicstyle_core.methods import METHODS, Method
from magicstyle.nodes.fusion import FFAAttentionPatch
from magicstyle.nodes.inversion import ContentStyleInversion, DDIMInversion
from magicstyle.nodes.sampling import FusedSampler


def invert(subject: Subject, steps: int, **changes) -> tuple[FeatureBank, FeatureBank]:
    """Content and style in one batch, with the layers of the subject."""
    settings = defaults(ContentStyleInversion, **{**_own(subject, steps), **changes})
    return ContentStyleInversion.execute(subject.model, subject.content, subject.style, **settings).args[:2]


def invert_one(subject: Subject, latent: dict, steps: int, **changes) -> FeatureBank:
    settings = defaults(DDIMInversion, **{**_own(subject, steps), **changes})
    return DDIMInversion.execute(subject.model, latent, **settings).args[0]


def _own(subject: Subject, steps: int) -> dict[str, object]:
    return {"steps": steps, "layers": subject.layers, "storage": "cpu"}


def dials_of(method: Method) -> dict[str, float | str]:
    """Its dials at the values that its authors published."""
    return {dial.name: dial.default for dial in method.dials}


def fuse(model, content: FeatureBank, style: FeatureBank, method: str = "MagicStyle", **dials: float):
    """The model with the patches of a method; the default has matched queries."""
    chosen = {"method": method, **dials_of(METHODS[method]), **dials}
    settings = defaults(FFAAttentionPatch, method=chosen, content_bank=content)
    return FFAAttentionPatch.execute(model, style, **settings).args[0]


def sample(model, content: FeatureBank, style: FeatureBank | None = None):
    """Samples ``(B,C,H,W)`` of the way back, with the look of the method on the model."""
    settings = defaults(FusedSampler)
    return FusedSampler.execute(model, content, style_bank=style, **settings).args[0]["samples"]
