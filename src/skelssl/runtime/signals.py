"""Handle signals that ask a run to save its state and end: from a user, from SLURM, or from a supervising process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

from skelssl.core.errors import Stopped

ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """A recorder of signals, so that the run acts on one at a safe moment instead of ending at once.

    ``number`` is the signal that came, 0 before. Create it before other code sets handlers: those found here get the
    signal in the end (`hand_on`), so that submitit can requeue a job. An ignored signal stays ignored.
    """

    def __init__(self) -> None:
        self.number = 0
        found = {number: signal.getsignal(number) for number in ASKING}
        self.before = {number: handler for number, handler in found.items() if handler is not signal.SIG_IGN}

    def listen(self, tell: Callable[[int], None] | None = None) -> None:
        """Start recording; ``tell`` is called with each signal at once. Only the main thread can do so."""

        def note(number: int, frame: Any) -> None:
            self.number = number
            if tell:
                tell(number)

        self._set(dict.fromkeys(self.before, note))

    def restore(self) -> None:
        """Restore the handlers that were set before."""
        self._set(self.before)

    def hand_on(self, number: int, sentence: str) -> None:
        """Pass the signal to the handler that was set before; raise Stopped where there was none.

        It returns where that handler decides to continue.
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
