"""One MAMP training step, ours against the straightforward form: ``python -m benchmarks.mamp_step``.

With ``--alone`` our form alone, part by part, at whatever ``--batch`` fits.

Straightforward: every token is embedded before a tenth is kept, attention matrices are written out, visible tokens and
mask tokens are concatenated and gathered, every token is predicted, AdamW goes parameter by parameter. Both run in turn
in one process, from equal weights on equal clips and masks.
"""

from __future__ import annotations

import copy
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.command import compare, sizes
from benchmarks.naive import transformer as naive
from benchmarks.parts import Part, backward, cut, study
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.transformer import Transformer
from skelssl.losses.masked_prediction import MaskedPrediction
from skelssl.maskers.motion_gumbel import MotionGumbelMask
from skelssl.maskers.tokens import TokenMask
from skelssl.optim import decay_groups

CRITERION = MaskedPrediction()


class Model(nn.Module):
    """Encoder and decoder at the published widths."""

    def __init__(self, depth: int, decoder_depth: int) -> None:
        super().__init__()
        self.encoder = Transformer(depth=depth)
        self.decoder = Decoder(grid=self.encoder.grid, width_in=self.encoder.dim, out=12, depth=decoder_depth)


Loss = Callable[[Model, Tensor, TokenMask], Tensor]


def our_loss(model: Model, x: Tensor, mask: TokenMask) -> Tensor:
    encoder, decoder = model.encoder, model.decoder
    tokens = encoder.encode(encoder.embed(x, mask.visible))
    prediction = decoder(tokens, mask.visible, mask.hidden)
    value: Tensor = CRITERION(prediction, CRITERION.targets(x, encoder.patch, mask.hidden))
    return value


def naive_loss(model: Model, x: Tensor, mask: TokenMask) -> Tensor:
    encoder, decoder = model.encoder, model.decoder
    tokens = naive.encode(encoder, x, mask.visible)
    prediction = naive.decode(decoder, tokens, torch.cat([mask.visible, mask.hidden], dim=1))
    return naive.loss(prediction, x, encoder.patch, mask.mask)


def make_clips(batch: int) -> Tensor:
    """Smooth random motion; the second person is absent in half of the clips."""
    x = torch.randn(batch, 3, 120, 25, 2).cumsum(2) / 10
    x[: batch // 2, ..., 1] = 0
    return x


def check_agreement(model: Model, x: Tensor, mask: TokenMask) -> list[float]:
    """Losses of both forms on one clip in float64, their gradients compared as well."""
    losses, gradients = [], []
    for loss in (naive_loss, our_loss):
        wide = copy.deepcopy(model).double()
        value = loss(wide, x[:1].double(), TokenMask(*(part[:2] for part in mask)))
        value.backward()  # type: ignore[no-untyped-call]
        losses.append(value.item())
        gradients.append(torch.cat([p.grad.flatten() for p in wide.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)
    assert abs(losses[0] - losses[1]) < 1e-12 * losses[0], f"the losses differ: {losses}"
    return losses


def measure(steps: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Median seconds of each step; they take turns, and the first turn warms up."""
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds + 1):
        for step, taken in zip(steps, seconds, strict=True):
            start = time.perf_counter()
            step()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in seconds]


def training_step(model: Model, loss: Loss, optimiser: torch.optim.Optimizer, x: Tensor, mask: TokenMask) -> None:
    optimiser.zero_grad()
    loss(model, x, mask).backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def encoder_step(model: Model, x: Tensor, mask: TokenMask, straightforward: bool) -> None:
    encoder = model.encoder
    tokens = (
        naive.encode(encoder, x, mask.visible) if straightforward else encoder.encode(encoder.embed(x, mask.visible))
    )
    tokens.sum().backward()  # type: ignore[no-untyped-call]
    encoder.zero_grad()


def run(batch: int, depth: int, decoder_depth: int, steps: int, threads: int) -> dict[str, Any]:
    """Every figure of the benchmark, ready for JSON."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, x = Model(depth, decoder_depth), make_clips(batch)
    mask = MotionGumbelMask()(x, torch.Generator().manual_seed(0))
    losses = check_agreement(model, x, mask)
    pair = []
    for loss, fused in ((naive_loss, False), (our_loss, True)):
        own = copy.deepcopy(model)
        adamw = torch.optim.AdamW(decay_groups(own.named_parameters()), lr=1e-4, weight_decay=0.05, fused=fused)
        pair.append((own, partial(training_step, own, loss, adamw, x, mask)))
    whole = measure([step for _, step in pair], steps)
    encoder = measure([partial(encoder_step, own, x, mask, i == 0) for i, (own, _) in enumerate(pair)], steps)
    return {
        "batch": batch, "depth": depth, "decoder_depth": decoder_depth, "steps": steps, "threads": threads,
        "torch": torch.__version__, "machine": platform.machine(), "losses": losses,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "seconds": {"encoder, forward and backward": encoder, "whole step": whole},
    }  # fmt: skip


def step_by_parts(
    model: Model, optimiser: torch.optim.Optimizer, x: Tensor, generator: torch.Generator, part: Part
) -> None:
    """A training step as the method takes it, cut between its parts: the same numbers."""
    encoder, decoder = model.encoder, model.decoder
    optimiser.zero_grad()
    with part("mask"):
        mask = MotionGumbelMask()(x, generator)
    with part("encoder"):
        tokens = encoder.encode(encoder.embed(x, mask.visible))
    with part("decoder"):
        prediction = decoder(encoded := cut(tokens), mask.visible, mask.hidden)
    with part("loss"):
        loss = CRITERION(predicted := cut(prediction), CRITERION.targets(x, encoder.patch, mask.hidden))
    backward(part, loss, ("decoder", prediction, predicted), ("encoder", tokens, encoded))
    with part("optimiser"):
        optimiser.step()


def alone(batch: int, depth: int, decoder_depth: int, steps: int, threads: int) -> dict[str, Any]:
    """Our form, part by part, ready for JSON."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, x = Model(depth, decoder_depth), make_clips(batch)
    adamw = torch.optim.AdamW(decay_groups(model.named_parameters()), lr=1e-4, weight_decay=0.05, fused=True)
    step = partial(step_by_parts, model, adamw, x, torch.Generator().manual_seed(0))
    return {"batch": batch, "depth": depth, "decoder_depth": decoder_depth, "steps": steps, "threads": threads,
            "torch": torch.__version__, "machine": platform.machine(), **study(step, steps)}  # fmt: skip


def main() -> None:
    compare(run, sizes(str(__doc__), batch=8, depth=8, decoder_depth=3), alone)


if __name__ == "__main__":
    main()
