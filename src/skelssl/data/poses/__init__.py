"""Read files of pose tools into ``Poses``; one module per reader, chosen by the content of a file.

>>> from skelssl.data.poses import FORMATS
>>> FORMATS
('coco', 'mediapipe', 'openpose', 'alphapose', 'pyskl', 'bvh')
"""

from skelssl.data.poses.poses import UNITS, Poses
from skelssl.data.poses.read import FORMATS, read_poses

__all__ = ["FORMATS", "UNITS", "Poses", "read_poses"]
