"""Import F8: ``S...A....skeleton.npy``, a dict of bodies per file, written by ``txt2npy.py`` of NTU RGB+D."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skelssl.core.errors import Refused
from skelssl.core.unpickle import load
from skelssl.data.clip import LISTED, RawClip
from skelssl.data.imports.rows import npy_header
from skelssl.data.ntu.source import NTU, parse_name
from skelssl.data.report import Report
from skelssl.data.roots import one_per_name, read_bytes, scan
from skelssl.data.source import BadInput, Entry

SUFFIX = ".skeleton.npy"
DESCRIPTION = f"import: bodies by their place in the tracker's list ({SUFFIX}), for recipes aimclr and agcn; lost: ids"
_PLACES = 4


class ListedNTU(NTU):
    """The source of NTU recordings as files of up to four bodies by position in each frame's list, without ids."""

    form = LISTED

    def entries(self, roots: Sequence[Path], report: Report) -> list[Entry]:
        """Return the files as for text files; report invalid names, other datasets and incomplete recordings."""
        report.origin = DESCRIPTION
        return one_per_name(self.admitted(scan(roots, SUFFIX), report), report)

    def read(self, entry: Entry) -> list[RawClip]:
        """Read the one clip of a file; raise BadInput D29 for a pickle of another kind, D32 for a truncated file."""
        facts = parse_name(entry.name)
        label = facts.pop("action") - 1
        try:
            bodies = _bodies(entry)
        except Refused as error:
            raise BadInput(error.code, error.reason) from error
        shapes = {body.shape for body in bodies}
        if len(shapes) != 1 or len(shape := shapes.pop()) != 3 or shape[1:] != (25, 3):
            raise BadInput("D29", "found no skel_body0 of shape (frames, 25, 3), or others of another length")
        return [RawClip.of_places(entry.name, label, np.stack(bodies, 1).astype(np.float32), facts=facts, form=LISTED)]


def _bodies(entry: Entry) -> list[np.ndarray[Any, np.dtype[np.floating[Any]]]]:
    """Return the bodies, each (T, V, 3), in the order of their positions."""
    data, path = read_bytes(entry), Path(str(entry))
    shape, _, dtype, offset = npy_header(path, data=data)
    if shape != () or not dtype.hasobject:
        raise Refused(path, "D29", f"found an array {shape} of {dtype}, expected one dict of bodies")
    content = load(path, io.BytesIO(data[offset:]))
    content = content[0] if isinstance(content, list) and content else content
    if not isinstance(content, dict):
        raise Refused(path, "D29", f"found a {type(content).__name__}, expected a dict of bodies")
    found = [content[key] for place in range(_PLACES) if (key := f"skel_body{place}") in content]
    if not all(isinstance(body, np.ndarray) and body.dtype.kind == "f" for body in found):
        raise Refused(path, "D29", "found bodies that are no arrays of numbers, expected arrays")
    return found
