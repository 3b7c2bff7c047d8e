"""Skeleton layouts as data: joints, bones, parts and graph, and the mapping of joints between layouts."""

from skelssl.skeleton.layout import Layout, layouts, load_layout
from skelssl.skeleton.mapping import JointMap, joint_map

__all__ = ["JointMap", "Layout", "joint_map", "layouts", "load_layout"]
