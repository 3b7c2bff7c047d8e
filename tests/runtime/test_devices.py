"""How precisely a device multiplies, inside and afterwards."""

from __future__ import annotations

import pytest
import torch

from skelssl.runtime.devices import matmul_precision


@pytest.mark.parametrize(("precision", "tf32"), [("highest", False), ("high", True), ("medium", True)])
def test_products_and_convolutions_are_as_precise_as_asked_and_then_as_before(precision: str, tf32: bool) -> None:
    def found() -> tuple[str, bool]:
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = found()
    with matmul_precision(precision):
        assert found() == (precision, tf32)
        with matmul_precision("highest"):
            assert found() == ("highest", False)
        assert found() == (precision, tf32)
    assert found() == before
