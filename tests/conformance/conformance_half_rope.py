# SPDX-License-Identifier: Apache-2.0
"""Goldens with the official half-precision rotation (sections 4.3 and 11.1 of the recurrent kit), and float32's noise.

The image encoder rounds queries and keys to float16 before and after the rotation. A value on the border between two
float16 numbers is tipped over by the last bit of the float32 products before it, and then it moves by 5e-4 of itself.
So float32 has no one right answer: every processor, thread count and library tips other values. Therefore

- in float64 arithmetic around the very same roundings, 2e-4 of max |golden| (and half of the distance to the goldens
  without rounding) holds strictly: a rounding that is absent, misplaced or of another kind fails here;
- in float32 the same is asked for. A tensor beyond it is NOISE instead of FAIL only if all of this holds:
    1. in float64 this tensor passes;
    2. it is clearly closer to this golden than our result without the roundings is: at most half of the distance, in
       root mean square over the tensor;
    3. the golden is one of the answers that float32 may give: with each weight left alone or moved to a neighbouring
       float32 number at random (a backward error of at most one unit in the last place), one of DRAWS results comes
       within the strict tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache

import torch
from conformance_report import FAIL, NOISE, Report, allowed_half_rope_error, largest_error, scale_of
from torch import Tensor

DRAWS = 48
Tensors = Mapping[str, Tensor]
Play = Callable[[str, bool, Tensors], Tensors]  # precision, whether rounded, weights -> the run's tensors


def check_half_rope(
    report: Report,
    case: str,
    run: str,
    dtype: str,
    goldens: Tensors,
    deviations: Mapping[str, tuple[float, float]],
    weights: Tensors,
    play: Play,
) -> None:
    """Compare a run with its goldens with the rounding, one row a tensor."""
    made = play(dtype, True, weights)
    exact = cache(lambda rounded: play("float64", rounded, weights))
    drawn = cache(lambda draw: play(dtype, True, nudged(weights, draw)))
    for name, golden in goldens.items():
        if name not in made:
            report.remark(case, run, name, FAIL, "a golden that this program does not compute", dtype)
            continue
        allowed = allowed_half_rope_error(golden, deviations.get(name))
        status, why = None, ""
        if dtype == "float32" and largest_error(made[name], golden) > allowed:
            status, why = judge(
                made[name], golden, allowed, exact(True)[name], exact(False)[name], lambda i, n=name: drawn(i)[n]
            )
        report.compare(case, run, name, dtype, made[name], golden, allowed, status=status, note=why)


def judge(
    made: Tensor, golden: Tensor, allowed: float, exact: Tensor, unrounded: Tensor, draw: Callable[[int], Tensor]
) -> tuple[str, str]:
    """Decide between NOISE and FAIL, and say why. exact, unrounded: float64 with and without roundings."""
    if largest_error(exact, golden) > allowed:
        return FAIL, "float64 around the same roundings is beyond it, too: not noise"
    share = distance(made, golden) / max(distance(unrounded, golden), 1e-300)
    if share > 0.5:
        return FAIL, f"not clearly closer than without the rounding: {share:.2f} of that distance (rms)"
    for i in range(DRAWS):
        error = largest_error(draw(i), golden)
        if error <= allowed:
            relative = error / scale_of(golden)
            return NOISE, f"{relative:.1e} with weights one unit away, draw {i + 1}; rms {share:.2f} of the unrounded's"
    return FAIL, f"none of {DRAWS} draws of weights one unit away comes within it: not noise"


def nudged(weights: Tensors, draw: int) -> dict[str, Tensor]:
    """Return the weights, each left alone or moved to one of its float32 neighbours at random; `draw` is the seed."""
    generator = torch.Generator().manual_seed(draw)

    def nudge(tensor: Tensor) -> Tensor:
        to = torch.randint(-1, 2, tensor.shape, generator=generator) * math.inf  # -inf, nan, inf
        return torch.where(to.isnan(), tensor, torch.nextafter(tensor, to.to(tensor.dtype)))

    return {name: nudge(tensor) for name, tensor in weights.items()}


def distance(a: Tensor, b: Tensor) -> float:
    """Root mean square of the difference."""
    return float((a.double() - b.double()).square().mean().sqrt())
