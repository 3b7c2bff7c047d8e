"""Feature space: test clips on the two principal axes of their features."""

from __future__ import annotations

from skelssl.pages.clip_figures import feature_plane
from skelssl.pages.figures.embedding import embedding_map
from skelssl.pages.run import OpenedRun, Section

CAPTION = (
    "Each dot is a test clip, projected onto the first two principal components (PCA) of the features. "
    "Hover over a dot to highlight its group. "
)


def feature_space_section(run: OpenedRun) -> Section:
    """Draw the test clips on the two principal axes of their features."""
    clips, fraction = feature_plane(run.features("test"), run.data.store)
    unknown = [key for key in ("subject", "camera") if getattr(clips, key) is None]
    note = f" The dataset does not record {' or '.join(unknown)}." if unknown else ""
    count = (
        f"{len(clips.xy):,} of {len(run.data.test):,} clips; the plane explains {100 * fraction:.0f} % of the variance."
    )
    return Section(f"{CAPTION}{count}{note}", embedding_map(clips, run.data.class_names))
