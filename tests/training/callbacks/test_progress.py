"""The bar is shown where training prints to a terminal, whatever standard output was when the trainer was built."""

from __future__ import annotations

import contextlib
import io

import lightning as L
import pytest

from skelssl.training.callbacks.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stdout", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_the_terminal_of_the_training_decides(stdout: type[io.StringIO], shown: bool) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # as ranks are built
        bar = Progress()
    with contextlib.redirect_stdout(stdout()):
        bar.setup(L.Trainer(logger=False, enable_checkpointing=False), L.LightningModule(), "fit")
    assert bar.is_enabled == shown
