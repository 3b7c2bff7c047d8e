"""Signals that ask a run to save itself and go: from a person, from SLURM, or from whoever supervises the process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

from skelssl.core.errors import Stopped

ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """Notes a signal where it would end the process, to be acted on at a moment that suits.

    ``number`` is the signal that came, 0 before. Made before anybody else sets handlers: the ones found then get the
    signal in the end (`hand_on`), so that submitit can put a job back into the queue. An ignored signal stays ignored.
    """

    def __init__(self) -> None:
        self.number = 0
        found = {number: signal.getsignal(number) for number in ASKING}
        self.before = {number: handler for number, handler in found.items() if handler is not signal.SIG_IGN}

    def listen(self, tell: Callable[[int], None] | None = None) -> None:
        """Takes the signals; ``tell`` hears of each at once. Only the main thread can."""

        def note(number: int, frame: Any) -> None:
            self.number = number
            if tell:
                tell(number)

        self._set(dict.fromkeys(self.before, note))

    def restore(self) -> None:
        """Puts the handlers back that were there before."""
        self._set(self.before)

    def hand_on(self, number: int, sentence: str) -> None:
        """Gives the signal to the handler that was there before; raises Stopped where there was none.

        Returns where that handler decides to go on.
        """
        self.number, handler = 0, self.before.get(signal.Signals(number))
        if not callable(handler):
            raise Stopped(f"stopped by {signal.Signals(number).name}: {sentence}")
        handler(number, None)

    @staticmethod
    def _set(handlers: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
