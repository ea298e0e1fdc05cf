# SPDX-License-Identifier: Apache-2.0
"""Frames from memory: an array (T, H, W, C), or any iterable of arrays, Pillow images or Frames."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sized
from typing import Any

import numpy as np
from PIL import Image

from longtake.errors import InputError
from longtake.frame import Frame
from longtake.sources.base import Source
from longtake.sources.picture import to_rgb, unit_to_bytes, upright
from longtake.sources.selection import Picker, Selection

_DEFAULT_FPS = 30.0


class ArraySource(Source):
    """Arrays in order, index / fps seconds apart. Frames keep the index and time they have.

    items: ndarray (T, H, W, 1|3|4) or (H, W, 1|3|4), or an iterable of (H, W), (H, W, 1|3|4) arrays, Pillow images or
    Frames. Values: uint8, or floating point in [0, 1]. A wrong item raises InputError when its turn comes.
    """

    def __init__(
        self, items: Iterable[Any] | np.ndarray, *, fps: float | None = None, selection: Selection | None = None
    ) -> None:
        if isinstance(items, np.ndarray):
            if items.ndim == 3 and items.shape[2] in (1, 3, 4):
                items = items[None]
            elif items.ndim != 4:
                raise InputError(
                    f"An array of shape {items.shape} is no take; (frames, height, width, 3) is wanted. "
                    "For grey frames add an axis: array[..., None]."
                )
        rate = fps or _DEFAULT_FPS
        selection = selection or Selection()
        count = len(items) if isinstance(items, Sized) else None
        super().__init__(
            name=items.name if isinstance(items, Source) else "arrays",
            kind="arrays",
            fps=rate,
            length=selection.count(count, rate),
            selection=selection,
        )
        self._items = items

    @property
    def notes(self) -> list[str]:
        """What went wrong without ending the take, also in a source that the frames come from."""
        return [*super().notes, *(self._items.notes if isinstance(self._items, Source) else [])]

    def _frames(self, picker: Picker) -> Generator[Frame, None, None]:
        for position, item in enumerate(self._items):
            frame = item if isinstance(item, Frame) else None
            index = frame.index if frame else position
            time = frame.time if frame else position / self.fps
            if picker.done(time):
                return
            if not picker.wants(position, time):  # of Frames that were thinned before, the numbers have gaps
                continue
            image = to_picture(frame.image if frame else item, f"frame {index}")
            picker.took()
            yield Frame(image, time, index, (frame.name if frame else "") or f"frame {index}")
            if picker.full:  # don't take one more from somebody's generator
                return


def to_picture(item: Any, what: str = "image") -> np.ndarray:
    """Convert one array or Pillow image to (H, W, 3) uint8 RGB; `what` names it in the error text."""
    if isinstance(item, Image.Image):
        return to_rgb(upright(item))
    try:
        array = np.asarray(item)
    except Exception as error:  # tensors on a GPU, ragged lists
        raise InputError(f"{what}: a {type(item).__name__} does not become an array ({error}).") from error
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        hint = "Move the channels last: array.transpose(1, 2, 0)." if array.shape[:1] in ((1,), (3,), (4,)) else ""
        raise InputError(
            f"{what}: got a {type(item).__name__} of shape {array.shape}; "
            f"(height, width, 3) is wanted, or 1 or 4 channels. {hint}".rstrip()
        )
    if np.issubdtype(array.dtype, np.floating):
        try:
            array = np.rint(unit_to_bytes(array.astype(np.float64, copy=False))).astype(np.uint8)
        except InputError as error:
            raise InputError(f"{what}: {error}") from error
    elif array.dtype != np.uint8:
        raise InputError(
            f"{what}: values of type {array.dtype}; uint8 or floating point in [0, 1] is wanted. "
            "For 16 bits: (array / 257).round().astype(np.uint8)."
        )
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array[..., :3])
