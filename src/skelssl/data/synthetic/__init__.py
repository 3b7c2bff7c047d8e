"""Generate procedural human motion: bodies perform actions and are recorded by an imperfect tracker.

``dice`` (reproducible random numbers) -> ``body`` (forward kinematics) -> ``actions`` (key poses of the classes) ->
``perform`` (subjects and their habits) -> ``tracker`` (recordings of three cameras) -> ``source`` (names, splits).
"""

from skelssl.data.synthetic.source import Synthetic

__all__ = ["Synthetic"]
