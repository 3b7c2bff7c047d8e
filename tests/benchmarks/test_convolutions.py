"""The command runs: equal gradients, a row for every wide convolution of PSTL's encoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import convolutions
from skelssl.encoders.convolution import NARROW
from skelssl.encoders.stgcn import STGCN


def test_every_wide_convolution(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(convolutions, "keep_pages", lambda: None)
    threads = torch.get_num_threads()
    try:
        assert convolutions.main(["--clips", "1", "--frames", "8", "--rounds", "1", "--threads", "1"]) == 0
    finally:
        torch.set_num_threads(threads)
    rows = [line for line in capsys.readouterr().out.splitlines() if " taps |" in line]
    assert len(rows) == len(convolutions.shapes(1, 8))


def test_the_shapes_are_the_encoder_s() -> None:
    """(inputs, outputs, taps) of its wide convolutions, but those of its strided shortcuts."""
    wide = set()
    for block in STGCN().st_gcn_networks:
        gcn, temporal = block.get_submodule("gcn.conv"), block.get_submodule("tcn.2")
        assert isinstance(gcn, nn.Conv2d)
        assert isinstance(temporal, nn.Conv2d)
        wide |= {(gcn.in_channels, gcn.out_channels // 3, 3), (temporal.in_channels, temporal.out_channels, 9)}
    named = {(s.into, s.out, s.taps) for s in convolutions.shapes(1, 8)} - {(64, 256, 1)}
    assert named == {w for w in wide if w[0] * w[1] >= NARROW}
