# SPDX-License-Identifier: Apache-2.0
"""What picture and page say in words and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtake.outputs.manifest import Run, portable
from longtake.outputs.size import HOW_SURE, in_metres


@dataclass(frozen=True, slots=True)
class Facts:
    """A take in words and figures."""

    run: Run
    summary: Mapping[str, Any]  # Recorder.summary()
    is_metric: bool
    notes: tuple[str, ...] = ()
    path_length: float = 0.0  # in units
    metres_per_unit: float | None = None  # the model's estimate, where it has one and units are not metres

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

    def about(self, value: float) -> str:
        """Return `, about 31 m` for a length in units, to be put after it; nothing where there is no estimate."""
        return "" if self.metres_per_unit is None else f", {in_metres(value, self.metres_per_unit)}"

    def size(self, value: float) -> str:
        """Return a length with its unit and, where there is an estimate, about how many metres that is."""
        return self.length(value) + self.about(value)

    @property
    def estimate(self) -> str:
        """A sentence on what the metres are worth; empty where none are estimated."""
        if self.metres_per_unit is None:
            return ""
        return f"Metres are {HOW_SURE}: one unit is {in_metres(1, self.metres_per_unit)}."

    def figures(self) -> list[tuple[str, str]]:
        """Return (value, label) of the figures that matter, most telling first."""
        told = self.summary
        rows = [
            (f"{told['frames']:,}", "frame" if told["frames"] == 1 else "frames"),
            (f"{told['fps']:.1f}", "frames a second"),
            (_latency(told["latency_p50"], told["latency_p95"]), "latency, median / 95 %"),
            (_count(told["points"]), "points"),
            (self.length(self.path_length), "path" + self.about(self.path_length)),
        ]
        if told.get("state_bytes"):
            rows.append((_bytes(told["state_bytes"]), "state, constant"))
        if told.get("peak_bytes"):
            rows.append((_bytes(told["peak_bytes"]), "memory at most"))
        return rows


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
