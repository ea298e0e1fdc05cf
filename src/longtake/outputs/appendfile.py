# SPDX-License-Identifier: Apache-2.0
"""A file that only grows, unbuffered, and can be cut back to what was whole."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Self


class AppendFile:
    """An unbuffered binary file: a failed write leaves nothing waiting in a buffer that would fail again on close."""

    def __init__(self, path: Path) -> None:
        """Create the file or empty an existing one. Raises OSError."""
        self.path = path
        self.length = 0  # bytes that are whole; a failed append may leave more on disk until `rewind`
        self._file: BinaryIO = open(path, "wb", buffering=0)  # noqa: SIM115 (closed by close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, data: bytes) -> None:
        """Write at the end. Raises OSError, e.g. on a full disk."""
        self._write(self.length, data)
        self.length += len(data)

    def overwrite(self, offset: int, data: bytes) -> None:
        """Write over bytes that are there already. Raises OSError."""
        self._write(offset, data)

    def rewind(self, length: int) -> None:
        """Cut the file back to its first `length` bytes. Raises OSError."""
        self._file.truncate(length)
        self.length = length

    def close(self) -> None:
        """Close the file. Calling it twice is fine."""
        self._file.close()

    def _write(self, offset: int, data: bytes) -> None:
        self._file.seek(offset)
        view = memoryview(data)
        while view:  # an unbuffered write may stop early where the disk is nearly full
            view = view[self._file.write(view) or 0 :]
