# SPDX-License-Identifier: Apache-2.0
"""Point clouds as binary little-endian PLY files that stay complete while they grow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from longtake.errors import InputError
from longtake.outputs.appendfile import AppendFile

VERTEX = np.dtype(
    [
        ("x", "<f4"), ("y", "<f4"), ("z", "<f4"),
        ("red", "u1"), ("green", "u1"), ("blue", "u1"),
        ("confidence", "<f4"),
    ]
)  # fmt: skip
_NAMES = {"f4": "float", "f8": "double", "u1": "uchar", "i1": "char", "u2": "ushort", "i2": "short", "u4": "uint",
          "i4": "int"}  # fmt: skip
_TYPES = {name: kind for kind, name in _NAMES.items()} | {
    "float32": "f4", "float64": "f8", "uint8": "u1", "int8": "i1", "uint16": "u2", "int16": "i2", "uint32": "u4",
    "int32": "i4",
}  # fmt: skip
_COUNT_BYTES = 48  # room for the vertex count and its padding


@dataclass(frozen=True, slots=True)
class Cloud:
    """A point cloud in world coordinates."""

    points: np.ndarray  # (n, 3) float32
    colors: np.ndarray  # (n, 3) uint8 RGB
    confidence: np.ndarray  # (n,) float32, ones where the file has none
    rows: np.ndarray  # (n,) int64 position of each point in its file


def _header(count: int) -> bytes:
    """Return a header of the same length for every count: a comment takes up the slack, so every reader copes."""
    vertex = f"element vertex {count}\n"
    padding = "comment " + "." * (_COUNT_BYTES - len(vertex) - len("comment \n")) + "\n"
    lines = ["ply", "format binary_little_endian 1.0"]
    lines += ["comment Longtake. World: the first camera, x right, y down, z forward; units in cameras.json"]
    fields = [f"property {_NAMES[VERTEX[name].str[1:]]} {name}" for name in VERTEX.names or ()]
    return ("\n".join(lines) + "\n" + padding + vertex + "\n".join(fields) + "\nend_header\n").encode("ascii")


def _vertices(points: np.ndarray, colors: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    vertices = np.empty(len(points), VERTEX)
    for axis, name in enumerate("xyz"):
        vertices[name] = points[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = colors[:, channel]
    vertices["confidence"] = confidence
    return vertices


def ply_bytes(points: np.ndarray, colors: np.ndarray, confidence: np.ndarray) -> bytes:
    """Return a whole PLY file of n points: (n, 3) world xyz, (n, 3) uint8 RGB, (n,) confidence."""
    return _header(len(points)) + _vertices(points, colors, confidence).tobytes()


class PlyWriter:
    """Append points to a PLY file; after every `append` the file on disk is a complete PLY.

    The points are written first and the count in the header last, so a process killed in between leaves a file whose
    header speaks only of whole points. `rewind` takes back what a failed append left behind.
    """

    def __init__(self, path: Path) -> None:
        """Create or overwrite the file with an empty cloud. Raises OSError."""
        self.path = path
        self.count = 0
        self._file = AppendFile(path)
        try:
            self._file.append(_header(0))
        except OSError:
            self._file.close()
            raise
        self._start = self._file.length

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, points: np.ndarray, colors: np.ndarray, confidence: np.ndarray) -> None:
        """Append n points: (n, 3) world xyz, (n, 3) uint8 RGB, (n,) confidence. Raises OSError, e.g. on a full disk."""
        self._file.append(_vertices(points, colors, confidence).tobytes())
        self._set_count(self.count + len(points))

    def rewind(self, count: int) -> None:
        """Cut the cloud back to its first `count` points. Raises OSError."""
        self._set_count(count)
        self._file.rewind(self._start + count * VERTEX.itemsize)

    def close(self) -> None:
        """Close the file. Calling it twice is fine."""
        self._file.close()

    def _set_count(self, count: int) -> None:
        self._file.overwrite(0, _header(count))
        self.count = count


def _read_header(path: Path) -> tuple[np.dtype, int, int]:
    """Return vertex type, vertex count and byte offset of the vertices."""
    fields: list[tuple[str, str]] = []
    count, element, offset = 0, "", 0
    with open(path, "rb") as file:
        if file.readline().strip() != b"ply":
            raise InputError(f"{path.name}: not a PLY file (its first line is not 'ply')")
        for raw in file:
            words = raw.decode("ascii", "replace").split()
            match words:
                case ["end_header"]:
                    offset = file.tell()
                    break
                case ["format", kind, *_] if kind != "binary_little_endian":
                    raise InputError(f"{path.name}: PLY format {kind}; this reader takes binary_little_endian")
                case ["element", name, number]:
                    if not fields and name != "vertex":
                        raise InputError(f"{path.name}: the first PLY element is '{name}'; wanted 'vertex'")
                    element = name
                    if not number.isdecimal():
                        raise InputError(f"{path.name}: the PLY header counts {number!r} of '{name}'; wanted a number")
                    count = int(number) if name == "vertex" else count
                case ["property", kind, name] if element == "vertex":
                    if kind not in _TYPES:
                        raise InputError(f"{path.name}: vertex property '{name}' has the unknown type '{kind}'")
                    fields.append((name, "<" + _TYPES[kind]))
                case ["property", "list", *_] if element == "vertex":
                    raise InputError(f"{path.name}: vertices with lists are not supported")
                case _:
                    continue
    if not offset or not {"x", "y", "z"} <= {name for name, _ in fields}:
        raise InputError(f"{path.name}: the PLY header is cut off or has no x, y and z")
    return np.dtype(fields), count, offset


def read_ply(path: str | os.PathLike[str], *, limit: int | None = None) -> Cloud:
    """Read the vertices of a binary little-endian PLY file.

    limit: at most so many points, evenly spread over the file in its order; the file is memory-mapped, so a small
    limit takes little memory however long the file. Raises InputError where the file is not such a PLY or is cut off.
    """
    path = Path(path)
    try:
        dtype, count, offset = _read_header(path)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror}); wanted a PLY file") from error
    if offset + count * dtype.itemsize > size:
        raise InputError(f"{path.name}: cut off; the header promises {count} points, the file holds fewer")
    if count == 0:
        empty = np.zeros((0, 3), np.float32)
        return Cloud(empty, empty.astype(np.uint8), empty[:, 0], np.zeros(0, np.int64))
    kept = np.linspace(0, count - 1, min(count, limit or count)).astype(np.int64)
    rows = np.memmap(path, dtype, "r", offset, (count,))
    rows = rows[kept] if len(kept) < count else rows
    names = dtype.names or ()

    def columns(wanted: tuple[str, ...], kind: type) -> np.ndarray:
        return np.stack([np.asarray(rows[name], kind) for name in wanted], axis=-1)

    rgb = ("red", "green", "blue")
    colors = columns(rgb, np.uint8) if set(rgb) <= set(names) else np.full((len(rows), 3), 160, np.uint8)
    confidence = columns(("confidence",), np.float32)[:, 0] if "confidence" in names else np.ones(len(rows), np.float32)
    return Cloud(columns(("x", "y", "z"), np.float32), colors, confidence, kept)


class PlyRows:
    """Read some points of a PLY file of ours, also while it grows. A context manager."""

    def __init__(self, path: Path) -> None:
        """Raises InputError where the file is not such a PLY."""
        self.path = path
        try:
            self._kind, _, self._start = _read_header(path)
            self._file = open(path, "rb")  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise InputError(f"{path.name}: cannot be read ({error.strerror}); wanted a PLY file") from error
        if self._kind != VERTEX:
            self._file.close()
            raise InputError(f"{path.name}: not a cloud of Longtake's (it has the fields {self._kind.names})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, first: int, count: int) -> Cloud:
        """Read `count` points from the position `first`. Raises InputError where the file is shorter."""
        self._file.seek(self._start + first * VERTEX.itemsize)
        data = self._file.read(count * VERTEX.itemsize)
        if len(data) < count * VERTEX.itemsize:
            raise InputError(f"{self.path.name}: cut off; it has no points {first} to {first + count}")
        rows = np.frombuffer(data, VERTEX)
        places = np.stack([rows[axis] for axis in "xyz"], -1)
        colors = np.stack([rows[name] for name in ("red", "green", "blue")], -1)
        return Cloud(places, colors, rows["confidence"].copy(), np.arange(first, first + count))
