"""Files of pose tools -> ``Poses``; one reader a file, and the content decides which one reads.

>>> from skelssl.data.poses import FORMATS
>>> FORMATS
('coco', 'mediapipe', 'openpose', 'alphapose', 'pyskl', 'bvh')
"""

from skelssl.data.poses.poses import UNITS, Poses
from skelssl.data.poses.read import FORMATS, read_poses

__all__ = ["FORMATS", "UNITS", "Poses", "read_poses"]
