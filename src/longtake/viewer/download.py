# SPDX-License-Identifier: Apache-2.0
"""An export as one file that a browser saves: formats that are folders become a ZIP."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from longtake.outputs.exports import FORMATS, export


def pack(folder: Path, kind: str, keep_percentile: float) -> tuple[str, bytes]:
    """Return name and content of an export of a take. Raises InputError, OutputError, MissingExtra."""
    with tempfile.TemporaryDirectory(prefix="longtake-") as temporary:
        # Named after the take, so that two takes' downloads can be told apart.
        made = export(folder, kind, _named(Path(temporary), folder, kind), keep_percentile=keep_percentile)
        if made.is_file():
            return made.name, made.read_bytes()
        archive = made.with_name(made.name + ".zip")
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for path in sorted(made.rglob("*")):
                file.write(path, Path(made.name) / path.relative_to(made))
        return archive.name, archive.read_bytes()


def _named(temporary: Path, folder: Path, kind: str) -> Path:
    name = Path(FORMATS[kind].name)
    take = folder.resolve().name
    return temporary / (f"{take}_{name.stem}{name.suffix}" if name.suffix else f"{take}_{name.name}")
