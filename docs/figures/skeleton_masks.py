"""Draw the picture of the README: poses of a clip of the synthetic dataset under MAMP's motion-aware mask.

python docs/figures/skeleton_masks.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from skelssl.core.compose import composed, resolved
from skelssl.data.recipes import RecipeConfig
from skelssl.data.synthetic.source import Synthetic
from skelssl.methods.build import build_method
from skelssl.pages.clip_figures import apply_recipe
from skelssl.pages.explore import open_parsed
from skelssl.pages.figures.pose import pose_upright
from skelssl.skeleton.layout import Layout, load_layout

mpl.use("Agg")
PATH = Path(__file__).with_suffix(".png")
ACTION, SEGMENTS, PATCH, RATIO = "throw", 6, 10, 0.6
LEFT, RIGHT, TRUNK, MASKED = "#3f7df0", "#e8950c", "#7d8794", "#dd3f70"  # readable on white and on dark backgrounds


def masked_clip(layout: Layout) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the poses (SEGMENTS, V, 3) of a clip, upright, and the mask (SEGMENTS, V) of their tokens."""
    sizes = [f"method.encoder.frames={SEGMENTS * PATCH}", f"method.encoder.patch={PATCH}"]
    config = resolved(composed("train", ["method=mamp", "debug=smoke", f"method.masking.ratio={RATIO}", *sizes]))
    source = Synthetic()
    with tempfile.TemporaryDirectory() as folder:
        store = open_parsed(source, Path(folder))
        label = next(i for i, name in enumerate(source.class_names) if ACTION in name)
        clip = store.clip(store.index.label.index(label))
    x = apply_recipe(clip, RecipeConfig.parse(config["method"]["recipe"]), "ntu25")  # (T, M, V, 3)
    method: Any = build_method(config)
    mask = method.visualize(torch.tensor(x)[None].permute(0, 4, 1, 3, 2), torch.Generator().manual_seed(0))[0]
    frames = mask.clip[0].permute(1, 3, 2, 0)[PATCH // 2 :: PATCH, :1].double().numpy()
    return pose_upright(frames, np.ones(frames.shape[:2], bool), layout)[:, 0], mask.tokens[0].numpy()


def draw(poses: NDArray[np.float64], masked: NDArray[np.bool_], layout: Layout) -> None:
    """Write the picture: one pose per temporal segment, masked joints hollow and their bones dashed."""
    side = [LEFT if j.split("_")[-1] == "left" else RIGHT if j.split("_")[-1] == "right" else TRUNK
            for j in layout.joints]  # fmt: skip
    head = np.array([joint == "head" for joint in layout.joints])
    figure, axes = plt.subplots(figsize=(11, 3.2))
    for s, (pose, gone) in enumerate(zip(poses, masked, strict=True)):
        x, y = pose[:, 0] - pose[:, 0].mean() + 1.15 * s, pose[:, 1]
        for child, parent in layout.bones:
            cut = gone[child] or gone[parent]
            style = {"color": MASKED, "lw": 1.2, "ls": (0, (2, 2))} if cut else {"color": side[child], "lw": 3.5}
            axes.plot(x[[child, parent]], y[[child, parent]], zorder=1, solid_capstyle="round", **style)
        axes.scatter(
            x[~gone], y[~gone], s=np.where(head, 190, 34)[~gone], c=np.array(side)[~gone], zorder=3, linewidths=0
        )
        axes.scatter(
            x[gone],
            y[gone],
            s=np.where(head, 110, 20)[gone],
            facecolors="none",
            edgecolors=MASKED,
            linewidths=1.2,
            zorder=2,
        )
        axes.text(1.15 * s, poses[..., 1].min() - 0.22, f"segment {s + 1}", ha="center", color=TRUNK, fontsize=10)
    axes.set_aspect("equal")
    axes.axis("off")
    figure.savefig(PATH, dpi=140, transparent=True, bbox_inches="tight", pad_inches=0.05, metadata={"Software": None})


if __name__ == "__main__":
    draw(*masked_clip(body := load_layout("ntu25")), body)
