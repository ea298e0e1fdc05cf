# SPDX-License-Identifier: Apache-2.0
"""Tell what a file is from its first bytes, so that errors can name what came instead of weights."""

import os
from enum import Enum
from pathlib import Path

from longtake.errors import CheckpointError


class Kind(Enum):
    """What the first bytes of a file look like; the value completes the sentence "it is ..."."""

    ZIP = "a zip file, as torch.save writes"
    PICKLE = "a pickle, as torch.save wrote before torch 1.6"
    SAFETENSORS = "a safetensors file"
    EMPTY = "empty"
    POINTER = "a git-lfs pointer, not the weights themselves"
    PAGE = "a web page, not the weights themselves"
    OTHER = "none of the formats of weight files"


def kind_of(path: Path, *, wanted: str = "weights") -> Kind:
    """Look at the first bytes of `path`; `wanted` names in errors which file belongs there.

    Raises:
        CheckpointError: no such file, a folder, or no permission to read it.
    """
    if os.path.isdir(path):  # False, not an error, where a folder above may not be entered
        raise CheckpointError(f"{path} is a folder; a file with {wanted} was wanted. Name the file inside it.")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file. It should hold {wanted}; download it and put it there, or pass its real path."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}. Check the permissions of the file.") from error
    if not head:
        return Kind.EMPTY
    if head.startswith(b"PK\x03\x04"):
        return Kind.ZIP
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return Kind.PICKLE
    if head[8:9] == b"{":  # 8 bytes of header length, then the header's JSON
        return Kind.SAFETENSORS
    if head.startswith(b"version https://git-lfs"):
        return Kind.POINTER
    return Kind.PAGE if head.lstrip().startswith(b"<") else Kind.OTHER
