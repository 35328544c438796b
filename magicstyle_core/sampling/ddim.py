"""DDIM steps, inversion and the way back, in denoiser form ``(x, sigma) -> x0``.

One DDIM step (eta = 0, arXiv 2010.02502 eq. 12) in the variance-exploding form is
``x' = x + (sigma' - sigma) * eps`` with ``eps = (x - D(x, sigma)) / sigma``, in either direction.
Prediction type (eps or v) does not matter in this form: the denoiser hides it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..bank.trajectory import Trajectory
from ..schedule import ve_from_vp, vp_from_ve

# k-diffusion's: "i" counts steps from 0, "x" and "denoised" are (B,C,H,W), "sigma" is where "x" is.
Callback = Callable[[dict[str, Any]], None]
# (denoised estimate (B,C,H,W), scalar sigma) -> what replaces it
Correction = Callable[[Tensor, Tensor], Tensor]


class Denoiser(Protocol):
    """k-diffusion's convention: ``(x (B,C,H,W), sigma (B,)) -> x0 (B,C,H,W)``."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor: ...


def report(callback: Callback | None, step: int, x: Tensor, sigma: Tensor, denoised: Tensor) -> None:
    """Tell ``callback``, if there is one, of a step."""
    if callback is not None:
        callback({"i": step, "x": x, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})


def predict_noise(denoise: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """``eps`` of ``x`` at scalar ``sigma > 0``."""
    return (x - denoise(x, sigma.expand(len(x)))) / sigma


@dataclass(frozen=True)
class FixedPoint:
    """DDIM inversion with the network at the target sigma, refined by fixed-point iteration.

    0 iterations is plain DDIM inversion, as in the paper and in diffusers' inverse scheduler. Each iteration
    brings the step closer to the exact inverse of the sampling step (AIDI, arXiv 2309.04907) at the cost of
    one evaluation. Where there are iterations, a step's first evaluation is already one of them: it starts from the
    noise that earlier steps ended with. The last evaluation of every step is at that step's sigma.
    """

    iterations: int = 0

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError(f"Fixed-point iterations must be 0 or more; got {self.iterations}.")

    def __str__(self) -> str:
        return f"fixed_point({self.iterations})" if self.iterations else "ddim"

    def __call__(self, denoise: Denoiser, x: Tensor, sigmas: Tensor, callback: Callback | None = None) -> Trajectory:
        latents, seen = [x.cpu()], []
        for step, (sigma, target) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
            if seen and self.iterations:
                guess = x + (target - sigma) * _continued(seen, target)
            else:
                # The network sees today's latent, rescaled so that its input has the variance it expects there.
                guess = ve_from_vp(vp_from_ve(x, sigma), target)
            eps = predict_noise(denoise, guess, target)
            for _ in range(self.iterations):
                eps = predict_noise(denoise, x + (target - sigma) * eps, target)
            seen = [*seen[-1:], (target, eps)]
            x = x + (target - sigma) * eps
            latents.append(x.cpu())
            report(callback, step, x, sigma, x - target * eps)
        return Trajectory(sigmas.cpu(), torch.stack(latents), method=str(self))


def _continued(seen: Sequence[tuple[Tensor, Tensor]], target: Tensor) -> Tensor:
    """Noise ``(B,C,H,W)`` expected at ``target`` from what was seen at one or two sigmas before, the last one last.

    A straight line over ``atan(sigma)``, the angle by which a step turns the latent in VP form: it stays even where
    sigma itself grows without bound.
    """
    (sigma, eps), (before, earlier) = seen[-1], seen[0]
    if len(seen) == 1:
        return eps
    here = torch.atan(sigma)
    return eps + (torch.atan(target) - here) / (here - torch.atan(before)) * (eps - earlier)


@dataclass(frozen=True)
class Exact:
    """DDIM inversion with the network at the current state, and no step's residual lost.

    ``r_i = x_{i-1} - step(x_i)``, where ``step`` is the sampling step back from ``x_i``: adding ``r_i`` on the
    way back returns every ``x_{i-1}`` to rounding. The evaluation at ``x_i`` serves the residual, the next
    step up and the features alike, so N steps cost N + 1 evaluations, and the latents and the last noise hold all
    residuals (:meth:`.Trajectory.residuals_down`).
    """

    def __str__(self) -> str:
        return "exact"

    def __call__(self, denoise: Denoiser, x: Tensor, sigmas: Tensor, callback: Callback | None = None) -> Trajectory:
        latents = [x.cpu()]
        # A clean latent has no noise to predict: the first step borrows the prediction at its target.
        eps = predict_noise(denoise, ve_from_vp(x, sigmas[1]), sigmas[1])
        for step, (sigma, target) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
            x = x + (target - sigma) * eps
            eps = predict_noise(denoise, x, target)
            latents.append(x.cpu())
            report(callback, step, x, sigma, x - target * eps)
        return Trajectory(sigmas.cpu(), torch.stack(latents), eps.cpu(), method=str(self))


InversionMethod = Exact | FixedPoint


def sample(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    residuals: Tensor | None = None,
    detail: float = 1.0,
    callback: Callback | None = None,
    correct: Correction | None = None,
    first: int = 0,
) -> Tensor:
    """DDIM from ``x (B,C,H,W)`` at ``sigmas[0]`` down to ``sigmas[-1]``; ``callback`` counts steps from ``first``.

    ``residuals (M, B or 1, C, H, W)``, one for each of the M steps in the order in which they run, are added
    times ``detail``. ``correct`` changes the denoised estimate of a step, which keeps its noise.
    """
    for step, (sigma, target) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        eps = predict_noise(denoise, x, sigma)
        denoised = x - sigma * eps
        change = 0.0 if correct is None else correct(denoised, sigma) - denoised
        report(callback, first + step, x, sigma, denoised + change)
        x = x + (target - sigma) * eps + change
        if residuals is not None:
            x = x + detail * residuals[step].to(x)
    return x
