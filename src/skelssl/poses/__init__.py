"""Files of pose tools -> ``Poses``; one reader a file, and the content decides which one reads."""

from skelssl.poses.poses import UNITS, Poses

__all__ = ["UNITS", "Poses"]
