"""The pack's nodes as functions, at their defaults but for what is named."""

from __future__ import annotations

from _host import defaults
from _subjects import Subject
from magicstyle.magicstyle_core.bank import FeatureBank
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


def fuse(model, content: FeatureBank, style: FeatureBank, **changes):
    """The model with the patch; by default with matched queries."""
    return FFAAttentionPatch.execute(model, content, style, **defaults(FFAAttentionPatch, **changes)).args[0]


def sample(model, content: FeatureBank, style: FeatureBank | None = None, **changes):
    """Samples ``(B,C,H,W)`` of the way back."""
    settings = defaults(FusedSampler, **changes)
    return FusedSampler.execute(model, content, style_bank=style, **settings).args[0]["samples"]
