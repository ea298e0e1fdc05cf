# SPDX-License-Identifier: Apache-2.0
"""Write a take to a folder while it runs: memory stays constant, and what is on disk is whole at every moment."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from torch import Tensor

from longtake.errors import OutputError
from longtake.frame import Prediction
from longtake.outputs import takefiles as names
from longtake.outputs.cameras import assemble_cameras, read_lines
from longtake.outputs.correct import Correction, correct_take
from longtake.outputs.depth import depth_note
from longtake.outputs.facts import Facts
from longtake.outputs.manifest import (
    Run,
    portable,
    portable_prose,
    run_note,
    sha256_of,
    source_note,
    write_manifest,
)
from longtake.outputs.pick import pick_pixels
from longtake.outputs.report import draw_report
from longtake.outputs.size import Size, size_of
from longtake.outputs.spread import Spread
from longtake.outputs.takefiles import TakeFiles, clear_earlier_take
from longtake.outputs.thumbs import Thumb, make_thumb
from longtake.outputs.tracking_strip import STATES
from longtake.outputs.trajectory import Trajectory

THUMBS = 6


class Recorder:
    """Context manager that takes predictions one by one and leaves a take's files in a folder.

    While it runs: cloud.ply, trajectory.txt, cameras.jsonl.part and the frames' files in depth/, confidence/ and
    images/ grow together. When it ends, also by Ctrl-C or an error, they become whole: cameras.json, depth/depth.json,
    report.png, report.html, manifest.json. The exception passes on; the manifest's status says what happened.
    Earlier frames that a family revises later stay as they were first predicted.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        run: Run | None = None,
        *,
        keep_percentile: float = 60.0,
        points_per_frame: int = 4000,
        max_points: int | None = None,
        report: bool = True,
        truth: Trajectory | None = None,
    ) -> None:
        """Say where and what to write; nothing is touched before the `with` block.

        keep_percentile: the surest so many percent of a frame's pixels may become points, in (0, 100].
        points_per_frame: how many of them do at most. max_points: the cloud stops growing there (None: never).
        report: draw report.png and report.html at the end. truth: the true path, for the report's error against time.
        """
        if not 0 < keep_percentile <= 100:
            raise ValueError(f"keep_percentile is {keep_percentile}; wanted more than 0 and at most 100")
        if points_per_frame < 0 or (max_points is not None and max_points < 0):
            raise ValueError("points_per_frame and max_points count points: they cannot be negative")
        self.out = Path(out)
        self.run = run or Run()
        self.status = "not started"
        self.notes: list[str] = []
        self._keep, self._budget, self._max = keep_percentile, points_per_frame, max_points
        self._report, self._truth = report, truth
        self.correction: Correction | None = None  # what poses become at the end, see `correct_take`
        self._told: dict[str, Any] = {}
        self._thumbs: Spread[Thumb] = Spread(2 * THUMBS)
        self._latencies: Spread[float] = Spread(8192)  # exact up to there, then an even sample
        self._sizes: set[tuple[int, int]] = set()  # of the depth maps: one, or a few where the pictures are mixed
        self._digests: dict[str, tuple[str, int]] = {}
        self._tracking: dict[str, int] = dict.fromkeys(STATES, 0)
        self._is_metric = False
        self._size = Size()  # known at the end
        self._seconds = 0.0
        self._report_seconds = 0.0

    def __enter__(self) -> Self:
        """Create the folder and the files. Raises OutputError where that is impossible."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            clear_earlier_take(self.out)
            self._started = datetime.now(UTC)
            write_manifest(self.out / names.MANIFEST, self._note() | {"status": "running"})
            self._files = TakeFiles(self.out)
        except OSError as error:
            raise OutputError(
                f"{self.out}: results cannot be written here ({error.strerror or error}). "
                "Give a folder that can be created and written to, on a disk with room."
            ) from error
        self.status = "running"
        self._begin = self._mark = time.perf_counter()
        return self

    def pick(self, prediction: Prediction, frames: int, points: int) -> Tensor:
        """Choose the pixels, as flat indices, that become points of a frame with so many frames and points before it.

        `add` does it; who writes in another thread does it ahead of `add`, to know how many points there will be.
        """
        room = self._budget if self._max is None else min(self._budget, self._max - points)
        return pick_pixels(prediction, keep_percentile=self._keep, budget=room, salt=frames)

    def add(self, prediction: Prediction, seconds: float | None = None, pixels: Tensor | None = None) -> None:
        """Write one frame of one stream.

        seconds: how long the frame took (its latency); by default the time since the previous `add` ended.
        pixels: what `pick` chose, if it was asked already.
        Raises OutputError where the disk is full: the frame is taken back, all before it is complete and readable.
        """
        latency = time.perf_counter() - self._mark if seconds is None else float(seconds)
        if pixels is None:
            pixels = self.pick(prediction, self.frames, self.points)
        try:
            self._files.add(prediction, pixels)
        except OSError as error:
            raise OutputError(
                f"{self.out}: frame {self.frames} could not be written ({error.strerror or error}). "
                "Free some room or choose a folder on another disk, then run again."
            ) from error
        height, width = prediction.depth.shape
        self._sizes.add((width, height))
        self._tracking[prediction.tracking] += 1
        self._is_metric = bool(prediction.is_metric)
        self._thumbs.offer(lambda: make_thumb(prediction))
        self._latencies.offer(lambda: latency)
        self._mark = time.perf_counter()
        self._seconds = self._mark - self._begin

    def tell(self, **facts: Any) -> None:
        """Add facts that only the caller knows to manifest and report, such as state_bytes and peak_bytes."""
        self._told |= facts

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return self._files.frames

    @property
    def points(self) -> int:
        """Points in cloud.ply so far."""
        return self._files.cloud.count

    def summary(self) -> dict[str, Any]:
        """Return frames, seconds, fps, latency_p50 and _p95 (seconds), points, status, outputs and what was told."""
        latencies = np.array(self._latencies.items)
        return {
            "frames": self.frames,
            "seconds": round(self._seconds, 3),
            "fps": round(self.frames / self._seconds, 3) if self._seconds > 0 else 0.0,
            "latency_p50": round(float(np.percentile(latencies, 50)), 5) if len(latencies) else None,
            "latency_p95": round(float(np.percentile(latencies, 95)), 5) if len(latencies) else None,
            "points": self.points,
            "path_length": round(self._size.path_length, 5),  # in units; this and the next are known at the end
            "metres_per_unit": self._size.metres_per_unit,  # the model's estimate
            "tracking": dict(self._tracking),  # frames that were ok, weak and lost
            **self._told,
            "status": self.status,
            "outputs": [name for name in self._written() if (self.out / name).exists()],
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish all files. Raises OutputError where that fails, and again, with what is left, where the block did."""
        if kind is None:
            self.status = "complete, with notes" if self.notes else "complete"
        elif issubclass(kind, Exception):
            self.status = f"failed: {portable_prose(' '.join(str(error).split()))[:300] or kind.__name__}"
        else:  # Ctrl-C, SystemExit
            self.status = "interrupted"
        troubles = self._finish()
        if isinstance(error, OutputError):  # what is complete is known only now
            raise OutputError(f"{error} {self._left(troubles)}") from error.__cause__
        if troubles and kind is None:
            raise OutputError(f"{self.out}: not every file could be finished. {self._left(troubles)}")

    def _finish(self) -> list[str]:
        files, out, troubles = self._files, self.out, []

        def attempt(what: str, action: Callable[[], None]) -> bool:
            try:
                action()
            except OSError as error:
                troubles.append(f"{what} could not be written ({error.strerror or error})")
            except Exception as error:  # a fault in drawing must not cost the take its files
                troubles.append(f"{what} could not be made ({type(error).__name__}: {error})")
            else:
                return True
            self.notes.append(troubles[-1])
            return False

        files.close()
        self._take_notes()
        if (correction := self.correction) is not None and self.frames:
            attempt("the corrected path", lambda: self.tell(corrected=correct_take(out, correction)))
        attempt("the size of the take", self._measure)
        assembled = attempt(
            names.CAMERAS,
            lambda: assemble_cameras(
                out / names.CAMERA_LINES,
                out / names.CAMERAS,
                is_metric=self._is_metric,
                metres_per_unit=self._size.metres_per_unit,
                lens=self.run.options.get("lens"),
            ),
        )
        attempt(names.DEPTH_NOTE, self._write_depth_note)
        attempt(names.MANIFEST, self._write_manifest)  # a second Ctrl-C while the report is drawn finds a whole folder
        if self._report:
            begin = time.perf_counter()
            attempt("the report", self._draw_report)
            self._report_seconds = time.perf_counter() - begin
        done = attempt(names.MANIFEST, self._write_manifest)
        if assembled and done:
            with contextlib.suppress(OSError):
                (out / names.CAMERA_LINES).unlink()
        return troubles

    def _draw_report(self) -> None:
        draw_report(self.out, self._facts(), self._thumbs.pick(THUMBS), self._latencies.items, self._truth)

    def _take_notes(self) -> None:
        files = self._files
        if not self.frames:
            self.notes.append("no frame was reconstructed: the source gave none, or the take ended before the first")
        if self._max is not None and self.points >= self._max and self.frames:
            self.notes.append(f"the cloud stopped growing at max_points = {self._max}")
        if files.pixels_too_far:
            self.notes.append(f"{files.pixels_too_far} depth pixels were too far for 16 bits and became 0 (unknown)")
        if files.frames_without_pose:
            self.notes.append(f"{files.frames_without_pose} frames have no finite pose: null in cameras.json")

    def _measure(self) -> None:
        size = size_of(read_lines(self.out / names.CAMERA_LINES))
        self._size = replace(size, metres_per_unit=None) if self._is_metric else size

    def _write_depth_note(self) -> None:
        note = depth_note(
            is_metric=self._is_metric, frames=self.frames, sizes=self._sizes, too_far=self._files.pixels_too_far
        )
        (self.out / names.DEPTH_NOTE).write_text(json.dumps(note, indent=1) + "\n", "utf-8")

    def _write_manifest(self) -> None:
        write_manifest(self.out / names.MANIFEST, self._manifest(), self._hashes())

    def _note(self) -> dict[str, Any]:
        return run_note(self.run) | {"started": self._started.isoformat(timespec="seconds")}

    def _manifest(self) -> dict[str, Any]:
        figures = {key: value for key, value in self.summary().items() if key != "outputs"}
        figures |= {"report_seconds": round(self._report_seconds, 3), "is_metric": self._is_metric}
        cloud = {"keep_percentile": self._keep, "points_per_frame": self._budget, "max_points": self._max}
        source = source_note(self.run.source)
        return self._note() | {"source": source, "cloud": cloud, **portable(figures), "notes": self._portable_notes()}

    def _written(self) -> list[str]:
        lines = [names.CAMERA_LINES] if not (self.out / names.CAMERAS).exists() else []
        report = [names.REPORT_PICTURE, names.REPORT_PAGE] if self._report else []
        folders = [names.DEPTH_NOTE, names.CONFIDENCE_FOLDER, names.IMAGE_FOLDER]
        paths = [names.TRAJECTORY, *([names.UNCORRECTED] if self._told.get("corrected") else [])]
        return [names.CLOUD, *paths, names.CAMERAS, *lines, *folders, *report, names.MANIFEST]

    def _hashes(self) -> Iterator[tuple[str, str, int]]:
        for name in self._written():
            path = self.out / name
            if name != names.MANIFEST and path.is_file():
                if name not in self._digests:  # the manifest is written twice, and a cloud may be long
                    self._digests[name] = sha256_of(path), path.stat().st_size
                yield name, *self._digests[name]
        yield from self._files.hashed_frames()

    def _facts(self) -> Facts:
        size, notes = self._size, self._portable_notes()
        return Facts(self.run, self.summary(), self._is_metric, notes, size.path_length, size.metres_per_unit)

    def _portable_notes(self) -> tuple[str, ...]:
        return tuple(map(portable_prose, self.notes))

    def _left(self, troubles: list[str]) -> str:
        """Say what is complete and what is not."""
        outputs = ", ".join(self.summary()["outputs"])
        text = f"Complete and readable: the first {self.frames} frames, {self.points} points ({outputs})."
        return f"{text} Not there: {'; '.join(troubles)}." if troubles else text
