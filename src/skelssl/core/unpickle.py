"""Read pickles as plain data: arrays, containers, text and numbers, and never a call that the file chooses.

A pickle is a program. This one can name only the globals in ``_ALLOWED``, and behind each is a small function of
ours or a builtin container: numpy's own reconstruction never sees the file. Operations that no data file needs, such
as making instances of classes, are not understood at all.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from skelssl.core.errors import Refused

_PLAIN = re.compile(r"([<>=|]?)([?bBiufcSUO][0-9]*)")  # dtypes without fields or shapes of their own
_LARGE = 4096  # bytes or characters that the memo need not keep: only arrays are so large, and they refer to no other
_NEEDLESS = (pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4,
             pickle.PERSID, pickle.BINPERSID, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)  # fmt: skip
Keep = Callable[[NDArray[Any]], Any]


class ForbiddenGlobal(Exception):
    """An error: the pickle names something that is no data."""


class _DType:
    """``numpy.dtype`` as a pickle builds it: a code, then a state with the byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def resolve(self) -> np.dtype[Any]:
        match = _PLAIN.fullmatch(self.code)
        if not match or self.order not in ("<", ">", "=", "|"):
            raise ForbiddenGlobal(f"the dtype {self.code!r}")
        return np.dtype((match[1] or self.order) + match[2])


class _Array:
    """``numpy.ndarray`` as a pickle builds it: empty first, then a state with shape, dtype and content."""

    def __init__(self, keep: Keep) -> None:
        self.keep = keep
        self.value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        kind = dtype.resolve()
        if kind.hasobject:  # its items are data already: they were read by this very reader
            self.value = list(content)
        else:
            raw = content.encode("latin1") if isinstance(content, str) else content
            self.value = self.keep(np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C"))


def _scalar(dtype: _DType, content: str | bytes) -> Any:
    raw = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, dtype.resolve(), 1)[0].item()


def _encode(text: str, codec: str = "latin1") -> bytes:
    if codec.lower() not in ("latin1", "latin-1"):
        raise ForbiddenGlobal(f"the codec {codec!r}")
    return text.encode("latin1")


def _empty(*content: Any) -> bytes:
    if content:  # Python 3 names the type for Python 2 only where there is nothing in it
        raise ForbiddenGlobal("bytes made of something else")
    return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): None,  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(module, "bytes"): _empty for module in ("builtins", "__builtin__")},
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__")
       for kind in (list, tuple, dict, set, frozenset, str, int, float, bool)},
}  # fmt: skip


_FORGOTTEN = object()


class _Memo(dict[int, Any]):
    """A file that forgets large pieces, so that a gigabyte is never in memory at once."""

    def __setitem__(self, key: int, value: Any) -> None:
        large = _is_large(value) or (isinstance(value, tuple) and any(map(_is_large, value)))
        super().__setitem__(key, _FORGOTTEN if large else value)  # a place all the same: newer protocols count them

    def __getitem__(self, key: int) -> Any:
        if (value := super().__getitem__(key)) is _FORGOTTEN:
            raise KeyError(key)
        return value


def _is_large(value: Any) -> bool:
    return isinstance(value, (str, bytes, bytearray)) and len(value) > _LARGE


class _Reader(pickle._Unpickler):
    """The Python reader of the standard library with a short list of globals and of operations."""

    def __init__(self, file: IO[bytes], keep: Keep) -> None:
        super().__init__(file, encoding="latin1")  # Python 2 wrote text and array contents alike as 8-bit strings
        self.memo = _Memo()
        self.keep = keep

    def find_class(self, module: str, name: str) -> Any:
        if re.fullmatch(r"numpy\._?core\.multiarray", module) and name == "_reconstruct":
            return self._reconstruct
        if re.fullmatch(r"numpy\._?core\.numeric", module) and name == "_frombuffer":
            return self._frombuffer
        if (module, name) not in _ALLOWED:
            raise ForbiddenGlobal(f"the global {module}.{name}")
        return _ALLOWED[module, name]

    def _reconstruct(self, *_: Any) -> _Array:
        return _Array(self.keep)

    def _frombuffer(self, content: bytes, dtype: _DType, shape: Any, order: str, axes: Any = None) -> _Array:
        array = _Array(self.keep if axes is None else lambda x: self.keep(x.transpose(axes)))
        array.__setstate__((1, shape, dtype, order == "F", content))
        return array

    def _build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (_Array, _DType)):  # anything else could be made to change under our hands
            raise ForbiddenGlobal(f"a state for a {type(self.stack[-1]).__name__}")
        self.stack[-1].__setstate__(state)

    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        key: do for key, do in pickle._Unpickler.dispatch.items() if key not in {op[0] for op in _NEEDLESS}
    }
    dispatch[pickle.BUILD[0]] = _build


def load(path: Path, file: IO[bytes] | None = None, *, keep: Keep = lambda array: array) -> Any:
    """Return what a pickle holds, arrays as ``keep`` returns them (an object array as the list of its items).

    ``file``: read on from there, as behind the header of a ``.npy``. Raises Refused (D29) for a pickle that asks for
    anything but data, and for one that is damaged; nothing of it has been called then.
    """
    with file or open(path, "rb") as stream:
        try:
            return _resolved(_Reader(stream, keep).load())
        except ForbiddenGlobal as error:
            raise Refused(
                path, "D29", f"found a pickle that asks for {error}, expected one of arrays, lists, text and numbers"
            ) from error
        except OSError:
            raise  # of the target that ``keep`` writes to
        except Exception as error:  # a damaged pickle may fail anywhere
            raise Refused(
                path, "D29", f"found a pickle that cannot be read ({type(error).__name__}), expected a complete one"
            ) from error


def _resolved(value: Any) -> Any:
    """Return the value with arrays in the places where the pickle had them."""
    if isinstance(value, _Array):
        return _resolved(value.value) if isinstance(value.value, list) else value.value
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_resolved(item) for item in value)
    return value
