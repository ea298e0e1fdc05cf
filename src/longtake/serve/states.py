# SPDX-License-Identifier: Apache-2.0
"""States of takes whose clients left. A state is found only with its id and the token that it was kept under."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path

from longtake.errors import InputError


class States:
    """Files in a folder, named by a digest of token and id: neither can be read from the folder, no path from an id."""

    def __init__(self, folder: Path, most: int) -> None:
        """Raises OSError where the folder cannot be made."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.most = folder, most

    @staticmethod
    def new_id() -> str:
        """An id that cannot be guessed."""
        return secrets.token_urlsafe(18)

    def path(self, token: str, take: str) -> Path:
        """Where the state of a take is, or would be."""
        digest = hashlib.sha256(f"{len(token)}:{token}:{take}".encode()).hexdigest()
        return self.folder / f"{digest}.safetensors"

    def keep(self, token: str, take: str, save: Callable[[Path], None]) -> None:
        """Have the state written, and forget the oldest beyond the bound. Raises what `save` raises."""
        save(self.path(token, take))
        files = sorted(self.folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[: -self.most]:
            path.unlink(missing_ok=True)

    def find(self, token: str, take: str) -> Path:
        """Return the file of a take. Raises InputError where there is none for this token."""
        path = self.path(token, take)
        if not path.is_file():
            raise InputError(
                "no take of this id is kept for this token: ids are those of the welcome, and the oldest are forgotten"
            )
        return path

    def forget(self, token: str, take: str) -> None:
        """Delete a state. Raises InputError where there is none for this token."""
        self.find(token, take).unlink(missing_ok=True)

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*.safetensors"))
