"""Apply one recipe to one raw file, without any store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from skelssl.core.errors import UserError
from skelssl.data.build.checks import examined
from skelssl.data.clip import EmptyClip, RawClip
from skelssl.data.ntu.text import read_skeleton
from skelssl.data.recipes import RecipeConfig
from skelssl.data.source import BadInput


def process_file(path: str | Path, recipe: str = "aimclr", faithful: bool = True, **arguments: Any) -> NDArray[Any]:
    """Apply a recipe to one NTU ``.skeleton`` file.

    Args:
        path: the file, of any name
        recipe: ``aimclr``, ``ctrgcn``, ``agcn`` or ``pyskl``
        faithful: whether to reproduce the quirks of the published preprocessing
        **arguments: the other keys of ``method.recipe``

    Returns:
        the array in m, in the layout of the reference's files. ``aimclr``: (3, 50, 25, 2) float32. ``ctrgcn``:
        (T, 150) float32, not padded. ``agcn``: (3, 300, 25, 2) float32. ``pyskl``: (M, T, 25, 3) float16, the selected
        persons before ``PreNormalize3D``.

    Raises:
        BadInput: with a code of the bad-input catalogue, for a file that cannot be used
        UserError: for an unknown recipe, or a file that cannot be read
    """
    path = Path(path)
    stages = RecipeConfig.parse({"name": recipe, "faithful": faithful, **arguments}).build()
    try:
        text = read_skeleton(path.read_bytes())
        clip = RawClip(path.stem, -1, text.bodies, text.body_id, text.track, text.frame_ptr)
        return stages.published(examined(clip))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}), expected a .skeleton file") from error
    except BadInput as bad:
        raise BadInput(bad.code, f"{path}: {bad.reason}") from bad
    except EmptyClip as error:
        raise BadInput(error.code, f"{path}: {error}") from error
