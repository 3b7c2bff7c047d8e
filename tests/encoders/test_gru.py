"""The sequence encoder: goldens of the reference, torch's own GRU as oracle, and stepping frame by frame."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.naive.gru_frames import FrameByFrame
from skelssl.core.errors import UserError
from skelssl.encoders.gru import GRU, CausalGRU, flatten, from_reference, recognises
from tests.helpers.formulas import CLIPS, layer, ramp

HEAD = {"fc.0.weight": torch.zeros(2), "fc.2.bias": torch.zeros(2)}


def released(hidden: int = 8) -> dict[str, Tensor]:
    """The golden's weights under the released names, with a head."""
    state = dict(HEAD)
    for index in range(3):
        for way, suffix in enumerate(("", "_reverse")):
            phase, width = 1000 * index + 100 * way, 2 * hidden if index else 150
            for kind, columns, step in (("ih", width, 1), ("hh", hidden, 2)):
                state[f"encoder.gru.weight_{kind}_l{index}{suffix}"] = layer((3 * hidden, columns), phase + step)[
                    "weight"
                ]
                state[f"encoder.gru.bias_{kind}_l{index}{suffix}"] = layer((3 * hidden, 1), phase + step + 2)["bias"]
    return state


def golden_encoder(**options: Any) -> GRU:
    encoder = GRU(hidden=8, **options).double()
    encoder.load_state_dict(from_reference(released()))
    return encoder


def test_reference_layout_of_a_frame() -> None:
    rows = flatten(ramp(CLIPS, 0, 0.01))
    expected = [0, 0.0099998333, 0.5514266812, 0.5597412047, 0.9200260382, 0.9238985443, 0.0199986667, 0.0299955002]
    assert rows.shape == (64, 2, 150)
    assert rows[0, 0, :8].tolist() == pytest.approx(expected, abs=1e-9)


def test_coordinates_stand_joint_then_axis_then_person() -> None:
    x = torch.arange(2 * 3 * 4 * 25 * 2).view(2, 3, 4, 25, 2)
    n, c, t, v, m = 1, 2, 3, 17, 1
    assert flatten(x)[t, n, v * 6 + c * 2 + m] == x[n, c, t, v, m]


def test_reference_numbers() -> None:
    out = golden_encoder()(ramp(CLIPS, 0, 0.01)).detach()
    assert float(out.sum()) == pytest.approx(1.0644214246, abs=1e-6)
    assert float(out.square().sum()) == pytest.approx(0.3558665559, abs=1e-6)
    assert out[0, :4].tolist() == pytest.approx([-0.1520508081, 0.1032389030, 0.1989726126, 0.0550424792], abs=1e-6)
    assert float(out[-1, -1]) == pytest.approx(-0.0746667162, abs=1e-6)
    backward = golden_encoder(direction="bidirectional")(ramp(CLIPS, 0, 0.01)).detach()
    assert (out - backward).abs().max() > 0.01


def gradients(out: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(out, parameters, torch.cos(torch.arange(out.numel())).view_as(out).to(out)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_equals_stepping_frame_by_frame(dtype: torch.dtype, tolerance: float) -> None:
    encoder, naive = golden_encoder().to(dtype), FrameByFrame(hidden=8).to(dtype)
    naive.load_state_dict({k: v for k, v in released().items() if k not in HEAD})
    x = ramp(CLIPS, 0, 0.01).to(dtype).requires_grad_()
    ours, theirs = encoder(x), naive(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
    grads = from_reference(
        dict(zip(dict(naive.named_parameters()), gradients(theirs, [*naive.parameters()]), strict=True))
    )
    for (name, _), grad in zip(encoder.named_parameters(), gradients(ours, [*encoder.parameters()]), strict=True):
        torch.testing.assert_close(grad, grads[name], rtol=10 * tolerance, atol=10 * tolerance)
    torch.testing.assert_close(gradients(encoder(x), [x]), gradients(naive(x), [x]), rtol=0, atol=tolerance)


def test_the_recurrence_equals_torchs() -> None:
    """What runs on other devices and without gradients, in value and gradient; every frame of the output takes part."""
    torch.manual_seed(0)
    ours, theirs = CausalGRU(5, 4).double(), nn.GRU(5, 4).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(7, 3, 5, dtype=torch.float64, requires_grad=True)
    a, b = ours(x), theirs(x)[0]
    torch.testing.assert_close(a, b, rtol=0, atol=1e-14)
    for one, other in zip(gradients(a, [x, *ours.parameters()]), gradients(b, [x, *theirs.parameters()]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)
    with torch.no_grad():
        assert torch.equal(ours(x), b)


def test_bidirectional_equals_torchs() -> None:
    encoder, theirs = golden_encoder(direction="bidirectional"), nn.GRU(150, 8, 3, bidirectional=True).double()
    theirs.load_state_dict({k.removeprefix("encoder.gru."): v for k, v in released().items() if k not in HEAD})
    x = ramp(CLIPS, 0, 0.01)
    torch.testing.assert_close(encoder(x), theirs(flatten(x))[0][-1], rtol=0, atol=1e-13)


def test_the_default_reads_the_future_of_no_frame() -> None:
    x = ramp(CLIPS, 0, 0.01)
    pair, both = golden_encoder().layers[0], golden_encoder(direction="bidirectional").layers[0]
    rows = flatten(x)
    torch.testing.assert_close(pair(rows)[:20], pair(rows[:20]))
    assert (both(rows)[:20] - both(rows[:20])).abs().max() > 1e-3


def test_parameters_and_their_start() -> None:
    torch.manual_seed(0)
    encoder = GRU()
    assert (sum(p.numel() for p in encoder.parameters()), encoder.dim) == (44_998_656, 2048)
    for name, parameter in encoder.named_parameters():
        spread = math.sqrt(6 / sum(parameter.shape)) if parameter.ndim == 2 else 1 / 32
        assert float(parameter.detach().abs().max()) == pytest.approx(spread, rel=0.01), name
        assert float(parameter.detach().std()) == pytest.approx(spread / math.sqrt(3), rel=0.05), name


def test_released_names_fit_and_strangers_are_kept() -> None:
    state = released()
    assert recognises(state)
    assert not recognises({"l1.gcn1.PA", "conv1m.0.weight"})
    assert from_reference(state).keys() == GRU(hidden=8).state_dict().keys()
    stranger = {"encoder.gru.weight_hr_l0": torch.zeros(1)}
    assert from_reference(stranger) == stranger


def test_ignored_joints_are_zeroed() -> None:
    x = ramp(CLIPS, 0, 0.01)
    before, zeroed = x.clone(), x.clone()
    zeroed[:, :, :, [3, 20]] = 0
    encoder = golden_encoder()
    assert torch.equal(encoder(x, ignore=[20, 3, 20]), encoder(zeroed))
    assert torch.equal(x, before)
    assert GRU.ignores == "zeroes"


def test_an_absent_person_has_finite_gradients_everywhere() -> None:
    torch.manual_seed(0)
    encoder, x = GRU(hidden=4), torch.randn(3, 3, 1, 25, 2)
    x[..., 1] = 0
    encoder(x.repeat(1, 1, 5, 1, 1)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_bfloat16_stays_close() -> None:
    torch.manual_seed(0)
    encoder, x = GRU(hidden=8), torch.randn(4, 3, 16, 25, 2)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = encoder(x)
        with torch.no_grad():
            torch.testing.assert_close(encoder(x).to(narrow), narrow, rtol=0, atol=0.02)
    torch.testing.assert_close(narrow, encoder(x), rtol=0, atol=0.02)
    narrow.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in encoder.parameters())


@pytest.mark.parametrize(
    "shape", [(2, 3, 8, 24, 2), (2, 3, 8, 25, 1), (2, 2, 8, 25, 2), (3, 8, 25, 2), (2, 3, 0, 25, 2)]
)
def test_wrong_shape_is_one_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"^encoder input: found shape \(.*\), expected \(N, 3, T, 25, 2\)$"):
        GRU(hidden=2)(torch.zeros(shape))


@pytest.mark.parametrize("ignore", [[25], [-1], range(25)])
def test_wrong_joints_to_ignore(ignore: list[int]) -> None:
    with pytest.raises(UserError, match="encoder ignore: found"):
        GRU(hidden=2)(torch.zeros(2, 3, 8, 25, 2), ignore=ignore)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"direction": "both"}, "encoder.direction: found 'both', expected one of causal_pair, bidirectional"),
        ({"layers": 0}, "encoder: found hidden=1024 and layers=0, expected both to be at least 1"),
    ],
)
def test_wrong_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}$"):
        GRU(**options)
