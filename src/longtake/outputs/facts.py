# SPDX-License-Identifier: Apache-2.0
"""What picture and page say in words and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from longtake.outputs.display import Display
from longtake.outputs.manifest import Run, portable


@dataclass(frozen=True, slots=True)
class Facts:
    """A take in words and figures."""

    run: Run
    summary: Mapping[str, Any]  # Recorder.summary()
    is_metric: bool
    notes: tuple[str, ...] = ()
    path_length: float = field(default=0.0)  # in units

    @property
    def title(self) -> str:
        """The source's name without folders."""
        name = str(portable(self.run.source)) if self.run.source else ""
        return Path(name).name or name or "A take"

    @property
    def setup(self) -> str:
        """Model, rule and device in one line."""
        return " · ".join(part for part in (self.run.model, self.run.rule, self.run.device) if part)

    def length(self, value: float) -> str:
        """Return a length with its unit."""
        return f"{value:.3g} {'m' if self.is_metric else 'units' if value != 1 else 'unit'}"

    def figures(self) -> list[tuple[str, str]]:
        """Return (value, label) of the figures that matter, most telling first."""
        told = self.summary
        rows = [
            (f"{told['frames']:,}", "frame" if told["frames"] == 1 else "frames"),
            (f"{told['fps']:.1f}", "frames a second"),
            (_latency(told["latency_p50"], told["latency_p95"]), "latency, median / 95 %"),
            (_count(told["points"]), "points"),
            (self.length(self.path_length), "path"),
        ]
        if told.get("state_bytes"):
            rows.append((_bytes(told["state_bytes"]), "state, constant"))
        if told.get("peak_bytes"):
            rows.append((_bytes(told["peak_bytes"]), "memory at most"))
        return rows


def path_length(display: Display | None) -> float:
    """Return the length of the camera's path in units."""
    if display is None:
        return 0.0
    return float(np.linalg.norm(np.diff(display.poses[:, :3, 3], axis=0), axis=-1).sum())


def _latency(median: float | None, high: float | None) -> str:
    if median is None or high is None:
        return "-"
    factor, unit = (1000, "ms") if high < 1 else (1, "s")
    shown = (f"{value * factor:.2g}" if value * factor < 10 else f"{value * factor:,.0f}" for value in (median, high))
    return f"{' / '.join(shown)} {unit}"


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1_000_000 else f"{number:,}"


def _bytes(number: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number = number / 1000  # type: ignore[assignment]
    return f"{number:.3g} GB"
