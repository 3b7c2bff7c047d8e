"""One HA-CM training step, ours against the straightforward form: ``python -m benchmarks.ha_cm_step``.

With ``--alone`` our form alone, part by part, at whatever ``--batch`` fits.

Straightforward: scores are built inside the graph with every difference of every pair in memory, every token is
embedded with gradient before a tenth is kept, attention matrices are written out, visible tokens and mask tokens are
concatenated and gathered, every token is predicted, AdamW goes parameter by parameter. Both run in turn in one process,
from equal weights on equal clips and noise, in the corrected token order.
"""

from __future__ import annotations

import copy
import platform
import resource
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.command import compare, sizes
from benchmarks.mamp_step import measure
from benchmarks.naive import ha_cm as naive
from benchmarks.parts import Part, backward, cut, study
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.transformer import Transformer
from skelssl.losses.cross_contrast import CrossContrast
from skelssl.losses.masked_prediction import MaskedPrediction
from skelssl.maskers.hyperbolic import CrossMasker
from skelssl.optim import decay_groups

PREDICTION, CONTRAST = MaskedPrediction(curvature=1.0), CrossContrast()
Noise = tuple[Tensor, Tensor]


class Model(nn.Module):
    """Encoder, decoder and scorers at the published widths."""

    def __init__(self, depth: int, decoder_depth: int) -> None:
        super().__init__()
        self.encoder = Transformer(frames=72, patch=3, joints="outer", curvature=1.0, depth=depth)
        self.decoder = Decoder(grid=self.encoder.grid, width_in=self.encoder.dim, out=9, depth=decoder_depth)
        self.masking = CrossMasker(grid=self.encoder.grid, dim=self.encoder.dim)

    def optimiser(self, fused: bool) -> torch.optim.Optimizer:
        return torch.optim.AdamW(decay_groups(self.named_parameters()), lr=1e-4, weight_decay=0.05, fused=fused)


def our_loss(model: Model, x: Tensor, noise: Noise) -> Tensor:
    encoder = model.encoder
    mask = model.masking(encoder, x, noise=noise)
    tokens = encoder.encode(encoder.embed(x, mask.visible))
    prediction = model.decoder(tokens, mask.rows, mask.hidden)
    target = PREDICTION.targets(encoder.select(x), encoder.patch, mask.targets)
    loss: Tensor = PREDICTION(prediction, target) + CONTRAST(tokens, everybody(tokens))
    return loss


def naive_loss(model: Model, x: Tensor, noise: Noise) -> Tensor:
    return naive.loss(model, model.masking, x, noise)[0]


def everybody(tokens: Tensor) -> Tensor:
    return torch.ones(len(tokens), dtype=torch.bool)


def make_clips(batch: int) -> Tensor:
    """Smooth random motion; the second person is absent in half of the clips."""
    x = torch.randn(batch, 3, 72, 25, 2).cumsum(2) / 10
    x[: batch // 2, ..., 1] = 0
    return x


def make_noise(batch: int) -> Noise:
    return torch.rand(2 * batch, 216), torch.rand(2 * batch, 216)


def check_agreement(model: Model, x: Tensor, noise: Noise) -> list[float]:
    """Losses of both forms on one clip in float64, their masks and gradients compared as well."""
    one, draws = x[:1].double(), tuple(u[:2].double() for u in noise)
    wide = copy.deepcopy(model).double()
    mask = wide.masking(wide.encoder, one, noise=draws)
    kept = torch.cat([order[:, : wide.masking.kept] for order in naive.loss(wide, wide.masking, one, draws)[1]], dim=1)
    assert torch.equal(mask.visible.sort(1).values, kept.sort(1).values), "the masks differ"
    losses, gradients = [], []
    for loss in (naive_loss, our_loss):
        wide.zero_grad()
        value = loss(wide, one, draws)
        value.backward()  # type: ignore[no-untyped-call]
        losses.append(value.item())
        gradients.append(
            torch.cat([p.grad.flatten() for p in wide.parameters() if p.requires_grad and p.grad is not None])
        )
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-11)
    assert abs(losses[0] - losses[1]) < 1e-10 * losses[0], f"the losses differ: {losses}"
    return losses


def training_step(model: Model, loss: Any, optimiser: torch.optim.Optimizer, x: Tensor, noise: Noise) -> None:
    optimiser.zero_grad()
    loss(model, x, noise).backward()
    optimiser.step()


@torch.no_grad()
def our_scores(model: Model, x: Tensor, noise: Noise) -> None:
    model.masking(model.encoder, x, noise=noise)


def run(batch: int, depth: int, decoder_depth: int, steps: int, threads: int) -> dict[str, Any]:
    """Every figure of the benchmark, ready for JSON."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, x, noise = Model(depth, decoder_depth), make_clips(batch), make_noise(batch)
    losses = check_agreement(model, x, noise)
    pair = [copy.deepcopy(model) for _ in range(2)]
    whole = measure(
        [partial(training_step, own, loss, own.optimiser(fused), x, noise)
         for own, loss, fused in zip(pair, (naive_loss, our_loss), (False, True), strict=True)], steps)  # fmt: skip
    scoring = [partial(naive.orders, model.masking, model.encoder, x, noise), partial(our_scores, model, x, noise)]
    return {
        "batch": batch, "depth": depth, "decoder_depth": decoder_depth, "steps": steps, "threads": threads,
        "torch": torch.__version__, "machine": platform.machine(), "losses": losses,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "seconds": {"scores and masks": measure(scoring, steps), "whole step": whole},
    }  # fmt: skip


def step_by_parts(model: Model, optimiser: torch.optim.Optimizer, x: Tensor, noise: Noise, part: Part) -> None:
    """A training step as the method takes it, cut between its parts: the same numbers."""
    encoder, decoder = model.encoder, model.decoder
    optimiser.zero_grad()
    with part("scores and masks"):
        mask = model.masking(encoder, x, noise=noise)
    with part("encoder"):
        tokens = encoder.encode(encoder.embed(x, mask.visible))
    with part("decoder"):
        prediction = decoder(encoded := cut(tokens), mask.rows, mask.hidden)
    with part("loss"):
        target = PREDICTION.targets(encoder.select(x), encoder.patch, mask.targets)
        loss = PREDICTION(predicted := cut(prediction), target) + CONTRAST(encoded, everybody(tokens))
    backward(part, loss, ("decoder", prediction, predicted), ("encoder", tokens, encoded))
    with part("optimiser"):
        optimiser.step()


def alone(batch: int, depth: int, decoder_depth: int, steps: int, threads: int) -> dict[str, Any]:
    """Our form, part by part, ready for JSON."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, x, noise = Model(depth, decoder_depth), make_clips(batch), make_noise(batch)
    step = partial(step_by_parts, model, model.optimiser(fused=True), x, noise)
    return {"batch": batch, "depth": depth, "decoder_depth": decoder_depth, "steps": steps, "threads": threads,
            "torch": torch.__version__, "machine": platform.machine(), **study(step, steps)}  # fmt: skip


def main() -> None:
    compare(run, sizes(str(__doc__), batch=8, depth=8, decoder_depth=3), alone)


if __name__ == "__main__":
    main()
