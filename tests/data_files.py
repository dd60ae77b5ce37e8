"""Tiny data sets in the real on-disk formats, and their facts."""

import pickle
import pickletools
import struct
from typing import Any

import numpy
import yaml

from src import settings
from src.datasets.facts import DataSet, described


def facts(name: str) -> dict[str, Any]:
    """The facts in conf/data/, which a fixture may have replaced by the facts of tiny files."""
    content: dict[str, Any] = yaml.safe_load((settings.CONF / "data" / f"{name}.yaml").read_text())
    return dict(content["facts"])


def set_facts(name: str, **changes: Any) -> None:
    path = settings.CONF / "data" / f"{name}.yaml"
    content = yaml.safe_load(path.read_text())
    content["facts"] |= changes
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def data_set(name: str) -> DataSet:
    return described({"facts": facts(name)})


def pixels_of(count: int, shape: tuple[int, ...], seed: int) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=numpy.uint8)


def idx(array: numpy.ndarray[Any, Any]) -> bytes:
    """An array in LeCun's format: a magic number with the number of dimensions, the sizes, the bytes."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return struct.pack(">I", 0x0800 + array.ndim) + sizes + array.tobytes()


def idx_files(*, train: int, test: int, num_classes: int) -> dict[str, bytes]:
    """The contents of four files with `train` training and `test` test images of 28 x 28 pixels."""
    contents = {}
    for prefix, count in (("train", train), ("t10k", test)):
        contents[f"{prefix}-images-idx3-ubyte"] = idx(pixels_of(count, (28, 28), seed=count))
        contents[f"{prefix}-labels-idx1-ubyte"] = idx(numpy.arange(count, dtype=numpy.uint8) % num_classes)
    return contents


def python2_pickle(batch: dict[str, Any]) -> bytes:
    """Pickles a batch as Python 2 did for the official ones: strings are byte strings, and NumPy has its old name."""
    content = pickle.dumps(batch, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    opcodes = bytearray(content)
    python2 = {"PROTO": b"\x80\x02", "SHORT_BINBYTES": b"U", "BINBYTES": b"T", "BINUNICODE": b"T"}
    for opcode, _, position in pickletools.genops(content):
        if position is not None and opcode.name in python2:
            code = python2[opcode.name]  # the same layout, another type
            opcodes[position : position + len(code)] = code
    return bytes(opcodes)
