"""One Skeleton2vec training step, ours against the straightforward form: ``python -m benchmarks.skeleton2vec_step``.

With ``--alone`` our form alone, part by part, at whatever ``--batch`` fits.

Straightforward: the teacher runs on empty persons too and keeps all blocks' outputs, every token is embedded before a
few are kept, attention matrices are written out, visible tokens and mask tokens are concatenated and gathered, every
token is predicted, AdamW goes parameter by parameter, the teacher is loaded from a new state dict. Both run in turn in
one process, from equal weights on equal clips and masks.
"""

from __future__ import annotations

import copy
import platform
import resource
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.command import compare, sizes
from benchmarks.mamp_step import measure
from benchmarks.naive import skeleton2vec, transformer
from benchmarks.parts import Part as Timed
from benchmarks.parts import backward, cut, study
from skelssl.encoders.decoder import Decoder
from skelssl.encoders.transformer import Transformer
from skelssl.losses.collapse import figures, products
from skelssl.losses.contextual import ContextualPrediction
from skelssl.maskers.motion_tube import MotionTubeMask
from skelssl.maskers.tokens import TokenMask
from skelssl.momentum import Momentum
from skelssl.optim import decay_groups

MOMENTUM = 0.9999
SIZES: dict[str, Any] = {"layer_scale": 1e-4, "norm_eps": 1e-6, "init": "normal"}


class Model(nn.Module):
    """Student, decoder and teacher at the published widths."""

    def __init__(self, depth: int, decoder_depth: int) -> None:
        super().__init__()
        self.student = Transformer(frames=90, patch=3, depth=depth, **SIZES)
        self.decoder = Decoder(grid=self.student.grid, width_in=256, out=256, depth=decoder_depth, **SIZES)
        self.teacher = Momentum(self.student)
        self.criterion = ContextualPrediction(blocks=depth)

    @property
    def ema(self) -> Any:
        return self.teacher.module


Part = Callable[[Model, Tensor, TokenMask], Tensor]


def our_targets(model: Model, x: Tensor, mask: TokenMask) -> Tensor:
    return model.criterion.targets(model.ema, x).at(mask.hidden)


def our_tokens(model: Model, x: Tensor, mask: TokenMask) -> Tensor:
    return model.student.encode(model.student.embed(x, mask.visible))


def our_loss(model: Model, x: Tensor, mask: TokenMask) -> Tensor:
    prediction = model.decoder(our_tokens(model, x, mask), mask.visible, mask.hidden)
    target = our_targets(model, x, mask)
    value: Tensor = model.criterion(prediction, target, torch.ones(len(target)))
    return value


def naive_targets(model: Model, x: Tensor, mask: TokenMask) -> Tensor:
    return skeleton2vec.targets(model.ema, x)


def naive_tokens(model: Model, x: Tensor, mask: TokenMask) -> Tensor:
    return transformer.encode(model.student, x, mask.visible)


def naive_loss(model: Model, x: Tensor, mask: TokenMask) -> Tensor:
    order = torch.cat([mask.visible, mask.hidden], dim=1)
    prediction = transformer.decode(model.decoder, naive_tokens(model, x, mask), order)
    return skeleton2vec.loss(prediction, naive_targets(model, x, mask), mask.mask)


def follow(model: Model, straightforward: bool) -> None:
    if straightforward:
        skeleton2vec.follow(model.ema, model.student, MOMENTUM)
    else:
        model.teacher.update(model.student, MOMENTUM)


def make_clips(batch: int, single: float) -> Tensor:
    """Smooth random motion; a share ``single`` of the clips shows one person."""
    x = torch.randn(batch, 3, 90, 25, 2).cumsum(2) / 10
    x[: round(single * batch), ..., 1] = 0
    return x


def check_agreement(model: Model, x: Tensor, mask: TokenMask) -> list[float]:
    """Losses of both forms in float64 on one clip; gradients, and the teacher after a step, are compared as well."""
    losses, results = [], []
    for loss, straightforward in ((naive_loss, True), (our_loss, False)):
        wide = copy.deepcopy(model).double()
        value = loss(wide, x[:1].double(), TokenMask(*(part[:2] for part in mask)))
        value.backward()  # type: ignore[no-untyped-call]
        trained = [p for p in wide.parameters() if p.grad is not None]
        with torch.no_grad():
            torch._foreach_sub_([*trained], [p.grad for p in trained if p.grad is not None])
        follow(wide, straightforward)
        losses.append(value.item())
        gradients = torch.cat([p.grad.flatten() for p in trained if p.grad is not None])
        results.append((gradients, nn.utils.parameters_to_vector(wide.teacher.parameters())))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)
    assert abs(losses[0] - losses[1]) < 1e-12 * losses[0], f"the losses differ: {losses}"
    return losses


def training_step(model: Model, loss: Part, optimiser: torch.optim.Optimizer, x: Tensor, mask: TokenMask) -> None:
    optimiser.zero_grad()
    loss(model, x, mask).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    follow(model, loss is naive_loss)


def with_gradients(part: Part, model: Model, x: Tensor, mask: TokenMask) -> None:
    part(model, x, mask).sum().backward()  # type: ignore[no-untyped-call]
    model.zero_grad()


def run(batch: int, depth: int, decoder_depth: int, single: float, steps: int, threads: int) -> dict[str, Any]:
    """Every figure of the benchmark, ready for JSON."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, x = Model(depth, decoder_depth), make_clips(batch, single)
    mask = MotionTubeMask()(x, torch.Generator().manual_seed(0))
    losses = check_agreement(model, x, mask)
    pair: list[Any] = []
    forms = (naive_loss, naive_targets, naive_tokens), (our_loss, our_targets, our_tokens)
    for form, foreach in zip(forms, (False, True), strict=True):
        own = copy.deepcopy(model)
        adamw = torch.optim.AdamW(decay_groups(own.named_parameters()), lr=1e-4, foreach=foreach)
        pair.append((own, adamw, *form))
    whole = measure([partial(training_step, own, loss, adamw, x, mask) for own, adamw, loss, *_ in pair], steps)
    teacher = measure([partial(part, own, x, mask) for own, _, _, part, _ in pair], steps)
    student = measure([partial(with_gradients, part, own, x, mask) for own, _, _, _, part in pair], steps)
    rest = [a - b - c for a, b, c in zip(whole, teacher, student, strict=True)]
    return {
        "batch": batch, "depth": depth, "decoder_depth": decoder_depth, "single": single, "steps": steps,
        "threads": threads, "torch": torch.__version__, "machine": platform.machine(), "losses": losses,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "seconds": {"whole step": whole, "teacher and targets": teacher, "student, forward and backward": student,
                    "decoder, loss, AdamW, average": rest},
    }  # fmt: skip


def step_by_parts(
    model: Model, optimiser: torch.optim.Optimizer, x: Tensor, generator: torch.Generator, part: Timed
) -> None:
    """A training step as the method takes it, with figures and clipping, cut between its parts: the same numbers."""
    optimiser.zero_grad()
    with part("mask"):
        mask = MotionTubeMask()(x, generator)
    with part("student"):
        tokens = our_tokens(model, x, mask)
    with part("decoder"):
        prediction = model.decoder(encoded := cut(tokens), mask.visible, mask.hidden)
    with part("teacher"):
        targets = model.criterion.targets(model.ema, x)
    with part("loss"):
        target, presence = targets.at(mask.hidden), targets.presence(len(mask.hidden))
        loss = model.criterion(predicted := cut(prediction), target, presence)
    with part("figures"):
        figures(targets, prediction.detach(), target, presence)
        products(targets.mean[targets.present])
    backward(part, loss, ("decoder", prediction, predicted), ("student", tokens, encoded))
    with part("optimiser"):
        nn.utils.clip_grad_norm_(model.parameters(), 4.0)
        optimiser.step()
    with part("average"):
        model.teacher.update(model.student, MOMENTUM)


def alone(batch: int, depth: int, decoder_depth: int, single: float, steps: int, threads: int) -> dict[str, Any]:
    """Our form, part by part, ready for JSON."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, x = Model(depth, decoder_depth), make_clips(batch, single)
    adamw = torch.optim.AdamW(decay_groups(model.named_parameters()), lr=1e-4, foreach=True)
    step = partial(step_by_parts, model, adamw, x, torch.Generator().manual_seed(0))
    about = {"batch": batch, "depth": depth, "decoder_depth": decoder_depth, "single": single, "steps": steps}
    return {
        **about,
        "threads": threads,
        "torch": torch.__version__,
        "machine": platform.machine(),
        **study(step, steps),
    }


def main() -> None:
    parser = sizes(str(__doc__), batch=8, depth=8, decoder_depth=3)
    parser.add_argument("--single", type=float, default=0.8, help="share of clips that show one person")
    compare(run, parser, alone)


if __name__ == "__main__":
    main()
