# SPDX-License-Identifier: Apache-2.0
"""The points that the viewer shows: bounded in number however long the take, in chunks that are redrawn alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from longtake.outputs.colormap import DEPTH, PATH, look_up

ColorBy = Literal["image", "depth", "confidence", "age"]
COLOR_BY: tuple[ColorBy, ...] = ("image", "depth", "confidence", "age")
CHUNKS = 32  # at most, when the store is full: each is a node in the browser, and a thousand nodes would choke it
_ROW = np.dtype([("place", "<f4", 3), ("color", "u1", 3), ("confidence", "<f4"), ("depth", "<f4"), ("frame", "<i4")])


@dataclass(frozen=True, slots=True)
class Style:
    """How points are filtered and coloured."""

    color_by: ColorBy = "image"
    least: float = -np.inf  # confidence below which points are left out
    low: float = 0.0  # where the colours begin: depth, log confidence or frame
    high: float = 1.0  # where they end


@dataclass(slots=True)
class Chunk:
    """Points of successive frames, in order."""

    rows: np.ndarray  # of _ROW
    parts: list[np.ndarray] = field(default_factory=list)  # appended, not yet joined
    version: int = 0  # grows with every change

    def joined(self) -> np.ndarray:
        """Return all rows."""
        if self.parts:
            self.rows = np.concatenate([self.rows, *self.parts])
            self.parts = []
        return self.rows

    def __len__(self) -> int:
        return len(self.rows) + sum(map(len, self.parts))

    def shown(self, style: Style, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, 3) places and (n, 3) uint8 colours of the points up to frame `last` that are sure enough."""
        rows = self.joined()
        rows = rows[: np.searchsorted(rows["frame"], last, side="right")]
        rows = rows[rows["confidence"] >= style.least]
        return np.ascontiguousarray(rows["place"]), colors_of(rows, style)

    def reaches(self, last: int) -> int:
        """Return how many points the frames up to `last` gave."""
        return int(np.searchsorted(self.joined()["frame"], last, side="right"))


def colors_of(rows: np.ndarray, style: Style) -> np.ndarray:
    """Return (n, 3) uint8 colours. Depth: near is light; confidence: sure is light; age: old is blue, new is orange."""
    span = max(style.high - style.low, 1e-9)
    match style.color_by:
        case "image":
            return np.ascontiguousarray(rows["color"])
        case "depth":
            return look_up(DEPTH, (np.log(np.maximum(rows["depth"], 1e-9)) - style.low) / span)
        case "confidence":
            return look_up(DEPTH, 1 - (np.log(np.maximum(rows["confidence"], 1e-9)) - style.low) / span)
        case "age":
            return look_up(PATH, (rows["frame"] - style.low) / span)


class Store:
    """At most `max_points` points. When they are full, every second one goes, and of later frames too."""

    def __init__(self, max_points: int = 1_000_000) -> None:
        if max_points < CHUNKS:
            raise ValueError(f"max_points is {max_points}; wanted at least {CHUNKS}")
        self.max_points = max_points
        self.chunks: list[Chunk] = []
        self.stride = 1  # every stride-th point of a frame is kept
        self.offered = 0  # points that the take has
        self._size = max(max_points // CHUNKS, 1)

    def __len__(self) -> int:
        return sum(map(len, self.chunks))

    def add(
        self, places: np.ndarray, colors: np.ndarray, confidence: np.ndarray, depth: np.ndarray, frame: int
    ) -> None:
        """Add the points of the next frame: (n, 3), (n, 3) uint8, (n,), (n,) along the camera's z axis."""
        rows = np.empty(len(places), _ROW)
        rows["place"], rows["color"], rows["confidence"] = places, colors, confidence
        rows["depth"], rows["frame"] = depth, frame
        self.offered += len(rows)
        rows = rows[np.isfinite(rows["place"]).all(-1) & np.isfinite(rows["confidence"])][:: self.stride]
        if not self.chunks or len(self.chunks[-1]) + len(rows) > self._size:
            self.chunks.append(Chunk(np.empty(0, _ROW)))
        self.chunks[-1].parts.append(rows)
        self.chunks[-1].version += 1
        while len(self) > self.max_points:
            self._halve()

    def _halve(self) -> None:
        self.stride *= 2
        halves = [chunk.joined()[::2] for chunk in self.chunks]
        pairs = [np.concatenate(halves[i : i + 2]) for i in range(0, len(halves), 2)]
        versions = [chunk.version for chunk in self.chunks]
        self.chunks = [Chunk(rows, version=max(versions) + 1) for rows in pairs]

    def style(self, color_by: ColorBy, percent: float) -> Style:
        """Return the style that shows the surest so many percent, (0, 100], with colours that span 2 to 98 %.

        A percentile, so that something is always left.
        """
        if not len(self):
            return Style(color_by)
        confidence = self._column("confidence")
        rank = min(int(len(confidence) * (1 - percent / 100)), len(confidence) - 1)
        least = -np.inf if percent >= 100 else float(np.partition(confidence, rank)[rank : rank + 1][0])
        match color_by:
            case "image":
                return Style(color_by, least)
            case "age":
                return Style(color_by, least, 0.0, float(max(self.chunks[-1].joined()["frame"][-1:], default=1)))
            case _:
                values = np.log(np.maximum(self._column(color_by), 1e-9))
                low, high = np.percentile(values, (2, 98))
                return Style(color_by, least, float(low), float(high))

    def sample(self, count: int) -> np.ndarray:
        """Return about `count` of the points, (n, 3), without the outermost one in a hundred."""
        if not len(self):
            return np.zeros((0, 3))
        places = self._column("place", count).astype(np.float64)
        low, high = np.percentile(places, (0.5, 99.5), axis=0)
        inside = ((places >= low) & (places <= high)).all(-1)
        return places[inside]

    def _column(self, name: str, count: int = 200_000) -> np.ndarray:
        step = max(len(self) // count, 1)
        return np.concatenate([chunk.joined()[name][::step] for chunk in self.chunks])
