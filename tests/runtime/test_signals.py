import os
import signal

import pytest

from skelssl.core.errors import Stopped
from skelssl.runtime.signals import Signals


@pytest.fixture
def heard():
    """A handler of somebody else's for SIGUSR2, and what it heard."""
    numbers = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGUSR2, before)


def test_a_signal_is_noted_and_handed_on_later(heard):
    told, signals = [], Signals()
    signals.listen(told.append)
    os.kill(os.getpid(), signal.SIGUSR2)
    assert (signals.number, told, heard) == (signal.SIGUSR2, [signal.SIGUSR2], [])
    signals.hand_on(signals.number, "x")
    assert (signals.number, heard) == (0, [signal.SIGUSR2])
    signals.restore()
    os.kill(os.getpid(), signal.SIGUSR2)
    assert len(heard) == 2
    assert signals.number == 0


def test_without_anybody_to_hand_it_to_the_run_ends():
    signals = Signals()
    signals.listen()
    os.kill(os.getpid(), signal.SIGUSR1)
    signals.restore()
    assert signals.number == signal.SIGUSR1
    with pytest.raises(Stopped, match="stopped by SIGUSR1: saved"):
        signals.hand_on(signals.number, "saved")
    assert not isinstance(Stopped(), Exception)  # no except clause of a sweep takes it for a failed job


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signals = Signals()
    signals.listen()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signals.number == 0
    signals.restore()
    signal.signal(signal.SIGUSR1, before)
