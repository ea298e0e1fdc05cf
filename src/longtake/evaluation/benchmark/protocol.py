# SPDX-License-Identifier: Apache-2.0
"""What is fixed before a number is measured. Two numbers are comparable if these are equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from longtake.continuity.trigger import spell_resets
from longtake.errors import InputError
from longtake.evaluation.metrics.cloud_alignment import CROP
from longtake.evaluation.metrics.cloud_errors import F_DISTANCE
from longtake.evaluation.metrics.icp import REACH, UPDATES
from longtake.evaluation.metrics.normals import NEIGHBOURS

Fit = Literal["crop", "resize"]
# (farthest true depth that counts, cap of the aligned prediction) in metres, where the published programs have them.
DEPTH_LIMITS: Mapping[str, tuple[float | None, float | None]] = {"sintel": (70.0, 70.0), "bonn": (70.0, None)}
CLOUD_POINTS = 50_000
FIT_PIXELS = 300_000
DEPTH_PIXELS = 20_000_000


@dataclass(frozen=True, slots=True)
class Protocol:
    """Which frames, how the model sees them, and what is compared."""

    dataset: str
    lengths: tuple[int, ...] = ()  # frames after which figures are taken; none: at the end
    start: int = 0
    stride: int = 1
    max_frames: int | None = None
    fit: Fit = "crop"  # of the frame to the model's size: cut to whole patches, or squeeze
    reset_every: int | None = None
    window: int | None = None  # full attention reads at most so many frames at once
    budget: int | None = None  # a cache keeps the keys of so many frames
    reset_when: str | None = None  # a trigger in words (longtake.continuity.trigger)
    join: str = "exact"  # how the chunks between resets meet
    cloud_points: int = CLOUD_POINTS  # at most so many of each cloud; 0: all, as the published tables
    depth_pixels: int = DEPTH_PIXELS  # at most so many of a sequence are compared; 0: all, as the published tables
    fit_pixels: int = FIT_PIXELS  # scale and shift are fitted on at most so many pixels; errors count all

    def __post_init__(self) -> None:
        least = {"stride": self.stride, "max_frames": self.max_frames or 1, "start": self.start + 1}
        least |= {"lengths": min(self.lengths, default=1)}
        least |= {name: getattr(self, name) + 1 for name in ("cloud_points", "depth_pixels")}
        wrong = [f"{name} {getattr(self, name)}" for name, value in least.items() if value < 1]
        if wrong or self.max_frames == 0:
            what = ", ".join(wrong) or "max_frames 0"
            raise InputError(f"{what}: start, cloud_points and depth_pixels must be 0 or more, all others at least 1.")

    @property
    def depth_limits(self) -> tuple[float | None, float | None]:
        """Return the farthest true depth that counts and the cap of the prediction, in metres; None: no limit."""
        return DEPTH_LIMITS.get(self.dataset, (None, None))

    def positions(self, frames: int) -> range:
        """Return the positions of the frames that are used, of a sequence of so many."""
        chosen = range(self.start, frames, self.stride)[: self.max_frames]
        reached = [n for n in self.lengths if n <= len(chosen)]
        return chosen[: max(reached)] if reached else chosen[:0] if self.lengths else chosen

    def settings(self) -> dict[str, Any]:
        """Return everything here that changes a number, for the record."""
        limit, cap = self.depth_limits
        return asdict(self) | {"max_depth": limit, "depth_cap": cap}

    def spelled(self) -> list[tuple[str, str]]:
        """Say it in words: rows of a report."""
        limit, cap = self.depth_limits
        most = f"at most {self.max_frames}" if self.max_frames else "all"
        every = "every frame" if self.stride == 1 else f"one in {self.stride}"
        points = f"at most {self.cloud_points:,} a cloud, the same share of every frame" if self.cloud_points else "all"
        pixels = "all pixels"
        if self.depth_pixels:
            pixels = f"at most {self.depth_pixels:,} pixels, the same share of every frame"
        seen = {
            "crop": "resized, then cut at the centre to whole patches; true depth outside is left out and counted",
            "resize": "squeezed to whole patches (Lanczos), nothing is cut",
        }
        cubic = "cubic, as the published programs resize it" if self.fit == "resize" else "bilinear in z"
        return [
            ("Frames", f"{every} from frame {self.start} on, {most}"),
            ("Picture", seen[self.fit]),
            ("Memory", self._memory()),
            ("Resets", spell_resets(self.reset_every, self.reset_when, self.join)),
            ("Alignment of paths", "Umeyama on all positions: Sim(3) for ATE and RPE, SE(3) and first pose beside it"),
            ("RPE", "consecutive used frames, after the Sim(3)"),
            ("Predicted depth", f"read at the pixels of the true depth, {cubic}"),
            ("True depth", f"valid where > 0{f' and < {limit:g} m' if limit else ''}; {pixels}"),
            ("Cap of the prediction", f"{cap:g} m" if cap else "none"),
            ("Depth fits", f"one a sequence; scale and shift on at most {self.fit_pixels:,} pixels, evenly chosen"),
            ("Cloud points", f"{points}; of the central {CROP}x{CROP} pixels with a true depth, no confidence filter"),
            ("Cloud alignment", f"z median and median size, then point-to-point ICP ({REACH:g} m, {UPDATES} updates)"),
            ("Normals, F-score", f"{NEIGHBOURS} nearest points; {100 * F_DISTANCE:g} cm"),
            (
                "Lost predictions",
                "depth that is not a positive number counts as 0, a path with a lost pose as standing",
            ),
            ("Clock", "the model's step on decoded frames, device synchronised, one stream; first frame apart"),
        ]

    def _memory(self) -> str:
        """Say what bounds the memory."""
        said = [f"window of {self.window} frames"] if self.window else []
        said += [f"budget of {self.budget} frames"] if self.budget else []
        return ", ".join(said) or "no window, no budget"
