# SPDX-License-Identifier: Apache-2.0
"""What a conformance run found: one line per compared tensor, a table at the end, and the tolerances of the kits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

PASS, FAIL, NOISE, NOT_BUILT, NOTE = "PASS", "FAIL", "NOISE", "NOT BUILT", "NOTE"
DTYPES = {"float64": torch.float64, "float32": torch.float32}


def scale_of(golden: Tensor) -> float:
    """Return max |golden| over its finite entries, 0 if there are none."""
    finite = golden[golden.isfinite()] if golden.is_floating_point() else golden
    return float(finite.abs().max()) if finite.numel() else 0.0


def allowed_error(golden: Tensor, dtype: str, deviation: tuple[float, float] | None = None) -> float:
    """Return the largest absolute error that the recurrent kit allows (its sections 11.1 and 13.4).

    float64: 1e-9 (of max |golden| where that exceeds 1), and 1e-6 relative for goldens stored in float32.
    float32: ten times the reference's own float32 deviation, at most 2e-5 of max |golden|; 2e-5 where the kit names no
    deviation. The floor of 1e-6 is for what the reference met exactly: another order of summation may not.
    Integers must be equal.
    """
    scale = scale_of(golden)
    if not golden.is_floating_point():
        return 0.0
    if dtype == "float64":
        return 1e-6 * scale if golden.dtype == torch.float32 else 1e-9 * max(1.0, scale)
    ceiling = 2e-5 * scale
    if deviation is None:
        return ceiling
    return min(max(10 * deviation[0], 1e-6 * scale), ceiling)


def allowed_half_rope_error(golden: Tensor, deviation: tuple[float, float] | None) -> float:
    """Return the tolerance against goldens with the half-precision rotation.

    2e-4 of max |golden|, and clearly closer than the goldens without it are: half of the distance between the two.
    """
    ceiling = 2e-4 * scale_of(golden)
    return ceiling if deviation is None else min(ceiling, max(deviation[0] / 2, 2e-5 * scale_of(golden)))


def largest_error(actual: Tensor, golden: Tensor) -> float:
    """Return max |actual - golden|; infinite where one is finite and the other not, or both are not but differ."""
    a, g = actual.detach().to("cpu", torch.float64), golden.to(torch.float64)
    same = (a == g) | (a.isnan() & g.isnan())
    error = torch.where(same, 0.0, (a - g).abs())
    return float(torch.where(error.isnan(), math.inf, error).max()) if error.numel() else 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One compared tensor, or one remark."""

    case: str
    run: str
    field: str
    dtype: str
    status: str
    error: float = 0.0
    relative: float = 0.0
    allowed: float = 0.0
    remark: str = ""  # instead of numbers
    note: str = ""  # beside them: why a tensor beyond its limit has the status it has

    def __str__(self) -> str:
        where = f"{self.case:<20} {self.run:<22} {self.field:<32} {self.dtype:<8}"
        if self.remark:
            return f"{where} {self.status}: {self.remark}"
        why = f" ({self.note})" if self.note else ""
        return f"{where} {self.error:10.3e} {self.relative:10.3e} {self.allowed:10.3e} {self.status}{why}"


HEADER = f"{'case':<20} {'run':<22} {'field':<32} {'dtype':<8} {'max abs':>10} {'relative':>10} {'allowed':>10}"


@dataclass
class Report:
    """Collects rows and prints each as it comes."""

    quiet: bool = False
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Keep and print a row."""
        self.rows.append(row)
        if not self.quiet or row.status == FAIL:
            print(row, flush=True)

    def remark(self, case: str, run: str, name: str, status: str, text: str, dtype: str = "-") -> None:
        """Add a row without numbers."""
        self.add(Row(case, run, name, dtype, status, remark=text))

    def compare(
        self,
        case: str,
        run: str,
        name: str,
        dtype: str,
        actual: Tensor,
        golden: Tensor,
        allowed: float,
        *,
        status: str | None = None,
        note: str = "",
    ) -> None:
        """Add the row of one tensor: PASS within `allowed`, else `status` (FAIL by default)."""
        if actual.shape != golden.shape:
            text = f"shape {tuple(actual.shape)}, the golden has {tuple(golden.shape)}"
            return self.remark(case, run, name, FAIL, text, dtype)
        error, scale = largest_error(actual, golden), scale_of(golden)
        relative = error / scale if scale else error
        status = PASS if error <= allowed else status or FAIL
        self.add(Row(case, run, name, dtype, status, error, relative, allowed, note=note))

    def compare_all(
        self,
        case: str,
        run: str,
        dtype: str,
        actual: Mapping[str, Tensor],
        golden: Mapping[str, Tensor],
        deviations: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        """Compare every golden tensor; one that was not computed fails, so that nothing is passed over in silence."""
        for name, wanted in golden.items():
            if name not in actual:
                self.remark(case, run, name, FAIL, "a golden that this program does not compute", dtype)
                continue
            allowed = allowed_error(wanted, dtype, (deviations or {}).get(name))
            self.compare(case, run, name, dtype, actual[name], wanted, allowed)

    def failed(self, *, strict: bool = False) -> bool:
        """Tell whether anything failed, nothing was compared, or (strict) something is not built."""
        statuses = [row.status for row in self.rows]
        return FAIL in statuses or (strict and NOT_BUILT in statuses) or not {PASS, NOISE, NOT_BUILT} & set(statuses)

    def summary(self) -> str:
        """Return the table: per case and dtype, how many tensors passed, and the one closest to its limit."""
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            if row.status in (PASS, NOISE, FAIL):
                groups.setdefault((row.case, row.dtype), []).append(row)
        counts = f"{'tensors':>8} {'passed':>8} {'noise':>8} {'failed':>8}"
        lines = ["", f"{'case':<20} {'dtype':<8} {counts}  closest to its limit"]
        for (case, dtype), rows in groups.items():
            passed, noise, failed = (sum(row.status == s for row in rows) for s in (PASS, NOISE, FAIL))
            worst = max(rows, key=_strain)
            tight = f"{worst.run} {worst.field}: {worst.remark or format(_strain(worst), '.1%') + ' of it'}"
            lines.append(f"{case:<20} {dtype:<8} {len(rows):>8} {passed:>8} {noise:>8} {failed:>8}  {tight}")
        missing = sorted({f"{row.case} {row.run}".strip() for row in self.rows if row.status == NOT_BUILT})
        lines += [f"{NOT_BUILT}: {', '.join(missing)}"] if missing else []
        total = [row.status for row in self.rows]
        words = ((PASS, "passed"), (NOISE, "float32 noise"), (FAIL, "failed"), (NOT_BUILT, "not built"))
        lines.append(", ".join(f"{total.count(s)} {word}" for s, word in words if s != NOISE or NOISE in total))
        return "\n".join(lines)


def _strain(row: Row) -> float:
    """Return error / allowed: above 1 is a failure."""
    if row.remark:
        return math.inf if row.status == FAIL else 0.0
    if row.allowed == 0:
        return 0.0 if row.error == 0 else math.inf
    return row.error / row.allowed
