"""Skeleton layouts: joints, bones, parts and graph, read from ``layouts/<name>.yaml`` or a file of the same format.

>>> body = load_layout("ntu25")
>>> len(body.joints), body.joints[body.center], int(body.degree.sum())
(25, 'spine_shoulder', 48)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from skelssl.core.errors import UserError

TORSO = 0.46  # metres from spine_base to spine_shoulder: the median of 12 recordings of NTU RGB+D
_OTHER = {"_left": "_right", "_right": "_left"}
_KEYS = ("name", "joints", "center", "bones", "parts", "core", "means")


@dataclass(frozen=True)
class Layout:
    """A skeleton of V joints and their bones. All indices are 0-based."""

    name: str
    joints: tuple[str, ...]  # V names; the suffixes _left and _right mark pairs
    parents: tuple[int, ...]  # (V,) parent of each joint; the centre is its own parent
    center: int
    parts: Mapping[str, tuple[int, ...]]
    core: tuple[int, ...] = ()  # joints that carry the limbs, in ascending order
    means: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # points, each the mean of joints

    def index(self, joint: str) -> int:
        """Return the index of a joint by its name; raise UserError if the layout has no such joint."""
        if joint not in self.joints:
            raise UserError(f"layout {self.name}: found no joint {joint}, expected one among {', '.join(self.joints)}")
        return self.joints.index(joint)

    def point(self, name: str) -> tuple[int, ...]:
        """Return the joints whose mean is the point ``name``: the joint of that name, otherwise those in ``means``.

        Raises UserError if the layout has neither.
        """
        if name in self.joints:
            return (self.joints.index(name),)
        if name not in self.means:
            raise UserError(
                f"layout {self.name}: found no {name}, neither as a joint nor under means, expected joints whose mean "
                "it is"
            )
        return self.means[name]

    @property
    def trunk(self) -> tuple[int, ...]:
        """Return ``core``; raise UserError if the layout does not define it."""
        if not self.core:
            raise UserError(f"layout {self.name}: found no core, expected the joints that carry the limbs")
        return self.core

    def select(self, joints: str | Sequence[str]) -> tuple[int, ...]:
        """Return the ascending indices of ``all`` joints, of the ``outer`` ones (without the core), or of named ones.

        Raises UserError for an unknown joint, for no joint, and for ``outer`` in a layout without a core.
        """
        if joints in ("all", "outer"):
            chosen = set(range(len(self.joints))) - (set(self.trunk) if joints == "outer" else set())
        elif isinstance(joints, Sequence):
            chosen = {self.index(joint) for joint in ([joints] if isinstance(joints, str) else joints)}
        else:
            raise UserError(f"encoder.joints: found {joints!r}, expected all, outer, or names of joints")
        if not chosen:
            raise UserError(f"encoder.joints: found none in {joints!r}, expected all, outer, or names of joints")
        return tuple(sorted(chosen))

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """Return the V - 1 (child, parent) pairs, without the self pair of the centre."""
        return tuple((child, parent) for child, parent in enumerate(self.parents) if child != parent)

    @cached_property
    def flip(self) -> NDArray[np.int64]:
        """Return the permutation (V,) that swaps left and right."""
        order = [self.index(name.removesuffix(s) + _OTHER[s]) if (s := _side(name)) else v
                 for v, name in enumerate(self.joints)]  # fmt: skip
        return np.array(order, dtype=np.int64)

    @cached_property
    def edges(self) -> NDArray[np.bool_]:
        """Return the symmetric edge matrix (V, V) without self loops."""
        edges = np.zeros((len(self.joints),) * 2, dtype=bool)
        for child, parent in self.bones:
            edges[child, parent] = edges[parent, child] = True
        return edges

    @cached_property
    def degree(self) -> NDArray[np.int64]:
        """Return the degree centrality (V,): the number of neighbours of each joint, without self loops."""
        degree: NDArray[np.int64] = self.edges.sum(0)
        return degree

    def adjacency(self, strategy: str = "spatial", max_hop: int = 1) -> NDArray[np.float64]:
        """Return the graph partitions (K, V, V), with entries [k, source, target].

        ``spatial``: ST-GCN's three partitions by distance to the centre, with columns normalised over the complete
        graph (Yan et al., AAAI 2018). Distances are known up to ``max_hop`` only. Farther joints are all at infinite
        and hence equal distance, so their edges belong to partition 1 in both directions, as released checkpoints
        require. ``directed``: 2s-AGCN's identity, inward and outward edges, each column-normalised (Shi et al., CVPR
        2019).

        Args:
            strategy: ``spatial`` or ``directed``.
            max_hop: largest distance of two connected joints, for ``spatial``.

        Raises:
            UserError: another strategy.
        """
        if strategy == "spatial":
            return self._spatial(max_hop)
        if strategy == "directed":
            inward = np.zeros(self.edges.shape)
            for child, parent in self.bones:
                inward[parent, child] = 1
            return np.stack([np.eye(len(self.joints)), _by_column(inward), _by_column(inward.T)])
        raise UserError(f"adjacency strategy: found {strategy!r}, expected spatial or directed")

    def _spatial(self, max_hop: int) -> NDArray[np.float64]:
        eye = np.eye(len(self.joints), dtype=bool)
        hops, reach = np.full(self.edges.shape, np.inf), eye
        for hop in range(max_hop + 1):
            hops[reach & np.isinf(hops)] = hop
            reach = reach | (reach.astype(int) @ self.edges.astype(int) > 0)
        base = _by_column((hops <= max_hop).astype(float))
        # [source, target]: is the source as far from the centre as the target, farther, or nearer?
        source, target = hops[self.center][:, None], hops[self.center][None, :]
        partitions = []
        for hop in range(max_hop + 1):
            at_hop = np.where(hops == hop, base, 0.0)
            same, farther = at_hop * (source == target), at_hop * (source > target)
            partitions += [same] if hop == 0 else [same + farther, at_hop * (source < target)]
        return np.stack(partitions)


def _side(name: str) -> str | None:
    return next((s for s in _OTHER if name.endswith(s)), None)


def _by_column(a: NDArray[np.float64]) -> NDArray[np.float64]:
    total = a.sum(0)
    return a / np.where(total > 0, total, 1)


def layouts() -> list[str]:
    """Return the names of the layouts in the package, sorted."""
    folder = files("skelssl.skeleton") / "layouts"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


@lru_cache
def load_layout(name: str) -> Layout:
    """Load the layout ``name`` of the package, or that of a ``.yaml`` file.

    Raises UserError for an unknown name and a malformed file.
    """
    if name in layouts():
        return _parsed((files("skelssl.skeleton") / "layouts" / f"{name}.yaml").read_text("utf-8"), name)
    path = Path(name).expanduser()
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise UserError(f"layout: found {name!r}, expected one of {', '.join(layouts())}, or a .yaml file like theirs")
    return _parsed(path.read_text("utf-8"), name)


def _parsed(text: str, where: str) -> Layout:
    """Parse a layout from YAML; raise UserError for a missing key, an unknown name and a disconnected skeleton."""
    try:
        data = yaml.safe_load(text)
        if unknown := next((key for key in data if key not in _KEYS), None):
            raise UserError(f"layout {where}: unknown key {unknown!r}, expected some of {', '.join(_KEYS)}")
        joints, bones = tuple(data["joints"]), dict(data["bones"])
        at = {joint: v for v, joint in enumerate(joints)}
        if len(at) < len(joints):
            raise UserError(f"layout {where}: found a joint named twice, expected {len(joints)} different names")
        parents = np.arange(len(joints))
        parents[[at[child] for child in bones]] = [at[parent] for parent in bones.values()]
        parts = {part: tuple(at[joint] for joint in members) for part, members in data["parts"].items()}
        core = tuple(sorted({at[joint] for joint in data.get("core", ())}))
        means = {point: tuple(at[joint] for joint in members) for point, members in data.get("means", {}).items()}
        body = Layout(data["name"], joints, tuple(parents.tolist()), at[data["center"]], parts, core, means)
    except yaml.YAMLError as error:
        raise UserError(f"layout {where}: found malformed YAML ({' '.join(str(error).split())})") from error
    except KeyError as error:
        raise UserError(f"layout {where}: found no {error}, expected it among the joints or the keys") from error
    except UserError:
        raise
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"layout {where}: found another structure ({error}), expected that of ntu25.yaml") from error
    _check(body, where)
    return body


def _check(body: Layout, where: str) -> None:
    parents = np.array(body.parents)
    ancestor = parents
    for _ in body.joints:
        ancestor = parents[ancestor]
    if (ancestor != body.center).any():
        lost = body.joints[int((ancestor != body.center).argmax())]
        raise UserError(
            f"layout {where}: found bones from {lost} that do not end in the center, {body.joints[body.center]}"
        )
    if empty := next((point for point, members in body.means.items() if not members), None):
        raise UserError(f"layout {where}: found no joint for the mean {empty}, expected at least one")
    for joint in body.joints:
        if (side := _side(joint)) and joint.removesuffix(side) + _OTHER[side] not in body.joints:
            raise UserError(
                f"layout {where}: found {joint} alone, expected {joint.removesuffix(side)}{_OTHER[side]} too"
            )
