"""Procedural human motion: bodies move, perform actions and are recorded by an imperfect tracker.

``dice`` (random numbers that never change) -> ``body`` (forward kinematics) -> ``actions`` (what is done) ->
``perform`` (who does it, and how) -> ``tracker`` (what three cameras make of it) -> ``source`` (names, splits).
"""

from skelssl.data.synthetic.source import Synthetic

__all__ = ["Synthetic"]
