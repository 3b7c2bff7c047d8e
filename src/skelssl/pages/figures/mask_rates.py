"""How often a mask hides which joint and which moment: a body coloured by rate, and a bar for every moment."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from skelssl.pages.figures.body import JointValues, body_map
from skelssl.pages.figures.profile import bar_profile
from skelssl.skeleton.layout import Layout

ALIKE = 1e-9  # what sums of the same shares may differ by


@dataclass(frozen=True)
class MaskingRates:
    """Share hidden over many draws of one mask."""

    name: str
    grid: NDArray[np.floating]  # (S, V) from 0 to 1, by moment and joint
    unit: str  # what S counts: segment, frame
    draws: int
    without: Collection[int] = ()  # joints that the mask never decides on, hollow in the picture

    @property
    def joints(self) -> NDArray[np.floating]:
        """(V,) by joint."""
        return np.asarray(self.grid.mean(0))

    @property
    def moments(self) -> NDArray[np.floating]:
        """(S,) by moment, over the joints that the mask decides on."""
        asked = [v for v in range(self.grid.shape[1]) if v not in self.without]
        return np.asarray(self.grid[:, asked].mean(1))


def masking_rates_figure(rates: Sequence[MaskingRates], layout: Layout, pose: NDArray[np.floating]) -> str:
    """A body and a chart for every mask; ``pose`` (V, 3) is somebody to draw on."""
    return "".join(_mask(each, layout, pose) for each in rates)


def _mask(rates: MaskingRates, layout: Layout, pose: NDArray[np.floating]) -> str:
    mean = 100 * float(rates.moments.mean())
    title = f"<h3>mask {escape(rates.name)}: {mean:.1f} % hidden, {rates.draws} draws</h3>"
    return f'{title}<div class="beside">{_body(rates, layout, pose)}{_moments(rates)}</div>'


def _body(rates: MaskingRates, layout: Layout, pose: NDArray[np.floating]) -> str:
    asked = [v for v in range(len(layout.joints)) if v not in rates.without]
    if np.ptp(rates.joints[asked]) < ALIKE:
        return "<p>Every joint alike.</p>"
    look = JointValues("share hidden", rates.joints, without=rates.without, percent=True)
    return body_map([look], layout, pose)


def _moments(rates: MaskingRates) -> str:
    unit = rates.unit.split(",")[0]
    if np.ptp(rates.moments) < ALIKE:
        return f"<p>Every {escape(unit)} alike.</p>"
    return bar_profile(f"share hidden by {rates.unit}", rates.moments, unit)
