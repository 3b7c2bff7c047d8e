"""Real attacks are refused before anything of them runs; the data that people have is read."""

from __future__ import annotations

import builtins
import copyreg
import io
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelssl.core import unpickle
from skelssl.core.errors import Refused
from skelssl.data.imports.listed import ListedNTU
from skelssl.data.source import BadInput, Entry

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def read(data: bytes, **options: Any) -> Any:
    return unpickle.load(Path("x.pkl"), io.BytesIO(data), **options)


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def touch(path: Path) -> Calls:
    return Calls(os.system, f"touch {path}")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_command_is_not_run(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "proof"
    attack = pickle.dumps([1, {"a": touch(proof)}], protocol)
    with pytest.raises(Refused, match=r"x\.pkl: found a pickle that asks for the global posix\.system, expected .*D29"):
        read(attack)
    assert not proof.exists()
    pickle.loads(attack)
    assert proof.exists()  # it is a real one


def test_nothing_but_data_can_be_named(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    code = f"open({str(proof)!r}, 'w')"
    attacks = {
        "builtins.eval": Calls(eval, code),
        "builtins.exec": Calls(exec, code),
        "builtins.getattr": Calls(getattr, "", "join"),
        "builtins.__import__": Calls(builtins.__import__, "os"),
        "builtins.open": Calls(open, str(proof), "w"),
        "copyreg._reconstructor": Calls(copyreg._reconstructor, dict, object, None),  # type: ignore[attr-defined]
        "numpy.load": Calls(np.load, str(proof)),
        "numpy.fromfile": Calls(np.fromfile, str(proof)),
        "pathlib.Path": Calls(Path, "x"),
        "pickle.loads": Calls(pickle.loads, pickle.dumps(touch(proof))),
    }
    for name, attack in attacks.items():
        for protocol in PROTOCOLS:
            with pytest.raises(Refused, match="asks for the global"):
                read(pickle.dumps(attack, protocol))
        assert not proof.exists(), name


@pytest.mark.parametrize("text", [
    b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
    b"cnumpy.core.multiarray\nfromstring\n(S'1'\ntR.",
    b"cnumpy.core\nmultiarray._reconstruct\n.",
    b"\x80\x04\x8c\x08builtins\x8c\x0dstr.__class__\x93.",  # a dotted name, behind STACK_GLOBAL
])  # fmt: skip
def test_numpy_and_dotted_names_are_no_way_round(text: bytes) -> None:
    with pytest.raises(Refused, match="asks for the global"):
        read(text)


@pytest.mark.parametrize("text", [
    b"(S'true'\nios\nsystem\n.",  # INST
    b"(cos\nsystem\nS'true'\no.",  # OBJ
    b"\x80\x02cbuiltins\nlist\n)\x81.",  # NEWOBJ
    b"\x80\x02\x82\x01.",  # EXT1
    b"Psome id\n.",  # PERSID
    b"",
    b"\x80\x05garbage",
    pickle.dumps(list(range(1000)))[:-50],
])  # fmt: skip
def test_other_operations_and_broken_files_are_refused(text: bytes) -> None:
    with pytest.raises(Refused, match=r"D29"):
        read(text)


def test_a_pickle_cannot_change_the_reader() -> None:
    for target in (b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\ndtype\n", b"c_codecs\nencode\n"):
        with pytest.raises(Refused, match="asks for a state for a"):
            read(b"\x80\x02" + target + b"}X\x01\x00\x00\x00aK\x01sb.")
    assert not hasattr(unpickle._DType, "a")
    assert not hasattr(unpickle._encode, "a")


def test_an_object_array_smuggles_nothing(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    nested = np.array({"skel_body0": 1, "deep": [touch(proof)]}, object)
    for protocol in PROTOCOLS:
        with pytest.raises(Refused, match=r"posix\.system"):
            read(pickle.dumps(nested, protocol))
    path = tmp_path / "S001C001P001R001A001.skeleton.npy"
    np.save(path, nested)
    with pytest.raises(BadInput, match=r"D29: .*posix\.system"):
        ListedNTU("ntu60").read(Entry(path.name.partition(".")[0], str(path)))
    assert not proof.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_data_of_every_protocol(protocol: int) -> None:
    arrays = [np.arange(6).astype(kind).reshape(2, 3) for kind in ("f2", ">f4", "i8", "u1", "?", "U3")]
    arrays += [
        np.asfortranarray(arrays[0]),
        np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
        np.zeros((0, 3)),
        np.float64(2.5),
        np.int64(7),
        np.array("a"),
    ]
    content = {"a": arrays, "b": OrderedDict(x=(1, 2.5, None, True)), "c": [b"\xff", b"", "ü", 2**70], "d": {1, 2}}
    found = read(pickle.dumps(content, protocol))
    for array, wanted in zip(found["a"], arrays, strict=True):
        np.testing.assert_array_equal(array, wanted)
        if isinstance(wanted, np.ndarray):
            assert array.dtype == wanted.dtype
    assert found["b"] == content["b"]
    assert found["c"] == content["c"]
    assert found["d"] == {1, 2}


def test_an_array_of_python_2() -> None:
    """Written byte by byte as Python 2.7 and numpy 1.16 do: 8-bit strings for names and for the content."""
    content = np.array([1, -2], "<i8").tobytes()
    text = (
        b"\x80\x02]q\x00(U\x05S.skeq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87"
        b"Rq\x04(K\x01K\x02\x85cnumpy\ndtype\nq\x05U\x02i8K\x00K\x01\x87Rq\x06(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff"
        b"\xff\xffK\x00tb\x89U" + struct.pack("<B", len(content)) + content + b"tbe."
    )
    names, numbers = read(text)
    assert names == "S.ske"
    assert numbers.tolist() == [1, -2]


def test_object_arrays_become_lists() -> None:
    names = np.array(["a", "bc"], object)
    assert read(pickle.dumps({"names": names})) == {"names": ["a", "bc"]}


def test_structured_dtypes_are_refused() -> None:
    with pytest.raises(Refused, match="the dtype 'V8'"):
        read(pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "i4")])))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_memory_holds_one_array_at_a_time(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps([np.full(100_000, i, "u1") for i in range(200)], protocol))
    tracemalloc.start()
    sums = unpickle.load(path, keep=lambda array: int(array[0]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sums == list(range(200))
    assert peak < 3e6  # of 20 MB
