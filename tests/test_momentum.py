"""Moving averages and the ring of keys against their definitions."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from skelssl.core.errors import UserError
from skelssl.momentum import Momentum, Queue, Schedule, linear_momentum
from skelssl.runtime.collectives import rank
from skelssl.runtime.draws import step_generator
from tests.helpers.ranks import run_ranks


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def train(online: nn.Module, step: int) -> None:
    """Stands for an optimiser step: moves every parameter and the batch norm's statistics."""
    with torch.no_grad():
        for k, tensor in enumerate(online.parameters()):
            tensor.add_(torch.full_like(tensor, 0.1 * (k + 1) * (-1) ** step))
        online(torch.randn(5, 3, generator=torch.Generator().manual_seed(step), dtype=tensor.dtype))


@pytest.mark.parametrize("buffers", [False, True])
def test_update_is_the_moving_average(buffers: bool) -> None:
    online = net().double()
    teacher = Momentum(online, buffers=buffers)
    expected = {key: value.clone() for key, value in online.state_dict().items()}
    for step, m in enumerate((0.9, 0.5, 1.0)):
        train(online, step)
        teacher.update(online, m)
        for key, value in online.state_dict().items():
            averaged = "running" not in key or buffers
            if averaged and value.is_floating_point():
                expected[key] = m * expected[key] + (1 - m) * value
    for key, value in teacher.module.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=1e-13, atol=1e-13)
    assert int(teacher.updates) == 3


def test_the_copy_takes_no_gradient_and_shares_no_memory() -> None:
    online = net()
    teacher = Momentum(online)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher(torch.randn(5, 3, requires_grad=True)).requires_grad
    pointers = {p.data_ptr() for p in online.state_dict().values()}
    assert pointers.isdisjoint(p.data_ptr() for p in teacher.module.state_dict().values())
    assert all(p.requires_grad for p in online.parameters())


def test_a_bfloat16_student_has_a_float32_teacher_that_moves() -> None:
    online = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(online.weight)
    teacher = Momentum(online)
    nn.init.constant_(online.weight, 2)
    for _ in range(10):
        teacher.update(online, 0.9999)
    assert teacher.module.weight.dtype == torch.float32
    assert float(teacher.module.weight) == pytest.approx(2 - 0.9999**10, abs=2e-6)


def test_the_counter_travels_with_the_state() -> None:
    teacher, fresh = Momentum(net()), Momentum(net())
    for _ in range(4):
        teacher.update(net(), 0.5)
    fresh.load_state_dict(teacher.state_dict())
    assert int(fresh.updates) == 4


def test_another_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="argument"):
        Momentum(net()).update(nn.Linear(3, 4), 0.5)


def test_linear_momentum_reaches_its_end_and_stays() -> None:
    horizon = 251_200  # 800 epochs of 314 steps
    assert linear_momentum(0.9999, 1.0, horizon, 0) == 0.9999
    assert linear_momentum(0.9999, 1.0, horizon, 600 * 314) == pytest.approx(0.999975, abs=1e-12)
    assert [linear_momentum(0.9999, 1.0, horizon, horizon + k) for k in (0, 1)] == [1.0, 1.0]
    assert linear_momentum(0.5, 0.9, 0, 0) == 0.9


def test_a_schedule_counts_epochs() -> None:
    schedule = Schedule(start=0.9, end=1.0, epochs=4)
    assert [schedule.momentum(n, 5) for n in (0, 10, 20, 21)] == pytest.approx([0.9, 0.95, 1.0, 1.0])
    for wrong, message in (({"end": 1.1}, r"teacher\.end: found 1\.1"), ({"epochs": 0}, r"teacher\.epochs: found 0")):
        with pytest.raises(UserError, match=message):
            Schedule(**{"start": 0.9, "end": 1.0, "epochs": 4, **wrong})


def test_the_gap_is_relative_to_the_online_network() -> None:
    online = nn.Linear(3, 4).double()
    teacher = Momentum(online)
    assert teacher.gap(online) == 0
    with torch.no_grad():
        for p in online.parameters():
            p.mul_(2)
    assert teacher.gap(online).item() == pytest.approx(0.5)


def keys(n: int, start: int, dim: int = 2) -> Tensor:
    """n rows, each filled with its running number."""
    return torch.arange(start, start + n, dtype=torch.float32)[:, None].expand(n, dim)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 12), batches=st.lists(st.integers(0, 30), max_size=8))
def test_queue_holds_the_newest_keys(size: int, batches: list[int]) -> None:
    queue, start = Queue(size, 2), 0
    expected = deque([None] * size, maxlen=size)  # type: deque[float | None]
    for n in batches:
        queue.enqueue(keys(n, start))
        expected.extend(keys(n, start)[:, 0].tolist())
        start += n
    assert int(queue.pointer) == start % size
    ring = queue.keys.roll(-int(queue.pointer), 0)[:, 0].tolist()  # oldest first
    assert [a for a, b in zip(ring, expected, strict=True) if b is not None] == [b for b in expected if b is not None]


def test_queue_wraps_round_in_place() -> None:
    queue = Queue(5, 2)
    for step in range(2):
        queue.enqueue(keys(3, 3 * step))
    assert queue.keys[:, 0].tolist() == [5, 1, 2, 3, 4]
    assert int(queue.pointer) == 1


def test_queue_starts_with_unit_rows_of_its_generator() -> None:
    first, second = (Queue(7, 4, generator=step_generator(0, 0, 0, "shared")).keys for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first.norm(dim=1), torch.ones(7))
    assert not torch.equal(first, Queue(7, 4, generator=step_generator(1, 0, 0, "shared")).keys)


def test_queue_takes_no_gradient_from_its_keys() -> None:
    queue = Queue(4, 2)
    queue.enqueue(nn.Linear(3, 2)(torch.ones(2, 3)))
    assert not queue.keys.requires_grad


def two_steps(sizes: tuple[int, ...], even: bool) -> list[Tensor]:
    queue, online = Queue(7, 2, generator=step_generator(0, 0, 0, "shared")), net()
    teacher = Momentum(online)
    for step in range(2):
        train(online, step)
        teacher.update(online, 0.9)
        queue.enqueue(keys(sum(sizes), 10 * step).split(sizes)[rank()], even=even)
    return [queue.keys, queue.pointer, *teacher.state_dict().values()]


@pytest.mark.parametrize(("sizes", "even"), [((2, 2), True), ((1, 3), False)])
def test_two_ranks_equal_one_process(sizes: tuple[int, ...], even: bool) -> None:
    one = two_steps((sum(sizes),), even=False)
    for result in run_ranks(two_steps, 2, sizes, even):
        assert all(torch.equal(a, b) for a, b in zip(result, one, strict=True))


def differs(by: float) -> str:
    teacher = Momentum(net())
    with torch.no_grad():
        teacher.module[0].bias[0] *= 1 + rank() * by
    try:
        teacher.check_ranks()
    except RuntimeError as error:
        return str(error)
    return ""


def test_a_teacher_that_differs_between_ranks_in_one_bit_is_noticed() -> None:
    assert run_ranks(differs, 2, 0.0) == ["", ""]
    for said in run_ranks(differs, 2, 2e-7):
        assert said.startswith("teacher: found other weights on one rank than on another")
    assert differs(0.0) == ""
