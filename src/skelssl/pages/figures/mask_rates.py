"""Draw masking rates: a body coloured by rate, and a bar for every frame or segment."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from skelssl.pages.figures.body import JointValues, body_map
from skelssl.pages.figures.profile import bar_profile
from skelssl.skeleton.layout import Layout

ALIKE = 1e-9  # largest rounding error between equal rates


@dataclass(frozen=True)
class MaskingRates:
    """Mmasked fraction over many draws of one mask."""

    name: str
    grid: NDArray[np.floating]  # (S, V) from 0 to 1, by frame or segment and joint
    unit: str  # of S: segment, frame
    draws: int
    without: Collection[int] = ()  # joints without tokens, drawn hollow

    @property
    def joints(self) -> NDArray[np.floating]:
        """Return (V,) the rate of each joint."""
        return np.asarray(self.grid.mean(0))

    @property
    def steps(self) -> NDArray[np.floating]:
        """Return (S,) the rate of each frame or segment, over the joints with tokens."""
        masked = [v for v in range(self.grid.shape[1]) if v not in self.without]
        return np.asarray(self.grid[:, masked].mean(1))


def masking_rates_figure(rates: Sequence[MaskingRates], layout: Layout, pose: NDArray[np.floating]) -> str:
    """Draw a body and a chart for every mask; ``pose`` (V, 3) is the body to draw on."""
    return "".join(_mask(each, layout, pose) for each in rates)


def _mask(rates: MaskingRates, layout: Layout, pose: NDArray[np.floating]) -> str:
    mean = 100 * float(rates.steps.mean())
    title = f"<h3>mask {escape(rates.name)}: {mean:.1f} % masked, {rates.draws} draws</h3>"
    return f'{title}<div class="beside">{_body(rates, layout, pose)}{_steps(rates)}</div>'


def _body(rates: MaskingRates, layout: Layout, pose: NDArray[np.floating]) -> str:
    masked = [v for v in range(len(layout.joints)) if v not in rates.without]
    if np.ptp(rates.joints[masked]) < ALIKE:
        return "<p>The rate is the same for all joints.</p>"
    values = JointValues("masking rate", rates.joints, without=rates.without, percent=True)
    return body_map([values], layout, pose)


def _steps(rates: MaskingRates) -> str:
    unit = rates.unit.split(",")[0]
    if np.ptp(rates.steps) < ALIKE:
        return f"<p>The rate is the same for all {escape(unit)}s.</p>"
    return bar_profile(f"masking rate by {rates.unit}", rates.steps, unit)
