# SPDX-License-Identifier: Apache-2.0
"""`longtake convert`: official weights become one safe file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def main(
    weights: Annotated[Positional[Path], arg(metavar="WEIGHTS")],
    out: Annotated[Positional[Path | None], arg(metavar="[OUT]")] = None,
    *,
    dtype: Literal["same", "float32", "bfloat16", "float16"] = "same",
) -> None:
    """Turn an official checkpoint into safetensors with its configuration inside. Nothing from the file is executed.

    Args:
        weights: The file as its authors publish it: .pth, .pt or safetensors.
        out: The new file; by default beside WEIGHTS, with the ending .safetensors.
        dtype: Precision of the new file; "same" keeps that of WEIGHTS.
    """
    import torch

    from longtake.checkpoints import convert

    report = convert(weights, out, dtype=None if dtype == "same" else getattr(torch, dtype))
    print(f"{report.out}: {report.family}, {report.parameters:,} parameters, {report.bytes / 1e6:.1f} MB")
    for note in report.notes:
        print(f"note: {note}")
