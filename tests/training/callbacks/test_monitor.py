import pytest
import torch

from skelssl.core.errors import UserError
from skelssl.training.callbacks.monitor import Monitor


def sampled(monitor, gradients, start=0):
    """Steps of a layer with the gradients (S, 3)."""
    layer = torch.nn.Linear(2, 1)
    for step, (a, b, c) in enumerate(gradients, start):
        layer.weight.grad, layer.bias.grad = torch.tensor([[a, b]]), torch.tensor([c])
        monitor.on_train_batch_start(None, layer, None, step)
        monitor.on_before_optimizer_step(None, layer, None)
    return monitor


def test_the_norm_is_taken_at_every_nth_step():
    monitor = sampled(Monitor(every_n_steps=2), [(1.0, 2.0, 2.0), (9.0, 9.0, 9.0), (0.0, 3.0, 4.0), (9.0, 9.0, 9.0)])
    assert float(monitor.norms) == 3.0 + 5.0
    assert monitor.seen == 2


def test_an_epoch_that_was_killed_goes_on_with_its_sum():
    state = sampled(Monitor(every_n_steps=1), [(1.0, 2.0, 2.0)]).state_dict()
    monitor = Monitor(every_n_steps=1)
    monitor.load_state_dict(state)
    assert float(sampled(monitor, [(0.0, 3.0, 4.0)], start=1).norms) == 3.0 + 5.0
    assert monitor.seen == 2


@pytest.mark.parametrize("value", [0, 1.5, None])
def test_a_wrong_interval(value):
    with pytest.raises(UserError, match=r"callbacks\.monitor\.every_n_steps: found .*, expected a whole number"):
        Monitor(every_n_steps=value)
