# SPDX-License-Identifier: Apache-2.0
"""A whole take in one call: source, stream and recorder, wired together."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from longtake import registry
from longtake.closing import LoopCloser
from longtake.continuity.archive import Archive
from longtake.continuity.trigger import ResetTrigger
from longtake.device import seeded
from longtake.engine import Outbox
from longtake.errors import CapabilityError, InputError, OutputError
from longtake.frame import Prediction
from longtake.geometry.lens import Lens
from longtake.memory.keep import Keep
from longtake.meter import bytes_now, finish_work, peak_bytes, start_counting
from longtake.outputs import Cloud, Recorder, Run, clear_earlier_take, read_ply, read_tum
from longtake.predictions import Prepared
from longtake.refine import Refiner
from longtake.revisions import Revisions
from longtake.rules import Rule
from longtake.sources import KnownSource, Source, open_known, resolve_lens
from longtake.sources.prefetch import Prefetcher, with_next
from longtake.stream import Stream


class Scene:
    """What a take became: a folder of complete files, and readers for them. Nothing per frame is held in memory."""

    def __init__(self, folder: Path, summary: Mapping[str, Any], notes: Iterable[str], *, temporary: bool) -> None:
        self.folder = folder
        self.summary = dict(summary)  # figures of the run, as `longtake reconstruct --json` prints them
        self.notes = tuple(notes)  # what went wrong without ending the take
        if temporary:  # not TemporaryDirectory: it warns when it is collected, which is how a scene ends
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    @property
    def frames(self) -> int:
        """How many frames were reconstructed."""
        return int(self.summary["frames"])

    @property
    def metres_per_unit(self) -> float | None:
        """The model's own estimate of the metres in one unit of the take; None where it has none, or units are metres.

        Often 15 to 20 % off, at times more. Nothing was scaled by it.
        """
        return self.summary["metres_per_unit"]

    @property
    def world_from_cam(self) -> np.ndarray:
        """Camera poses, (T, 4, 4) float64, read from trajectory.txt; frames without a finite pose are left out."""
        return read_tum(self.folder / "trajectory.txt").world_from_cam

    def cloud(self, limit: int | None = None) -> Cloud:
        """Read the point cloud, or at most `limit` of its points, evenly spread."""
        return read_ply(self.folder / "cloud.ply", limit=limit)

    def save(self, out: str | os.PathLike[str]) -> Path:
        """Copy the take's files to a folder, replacing an earlier take there; return the folder. Raises OutputError."""
        target = Path(out)
        try:
            target.mkdir(parents=True, exist_ok=True)
            if not target.samefile(self.folder):
                clear_earlier_take(target)
                shutil.copytree(self.folder, target, dirs_exist_ok=True)
        except OSError as error:  # shutil.Error is one too
            raise OutputError(
                f"{target}: the scene cannot be saved here ({error.strerror or error}). "
                f"Give a folder that can be written to; until this program ends, the files are in {self.folder}."
            ) from error
        return target

    def __repr__(self) -> str:
        return f"<Scene of {self.frames} frames and {self.summary['points']} points in {self.folder}>"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a take: the files so far are complete, and `scene` reads them."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(f"stopped after {scene.frames} frames; they are complete and readable in {scene.folder}")
        self.scene = scene


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running take is."""

    frames: int  # done so far
    expected: int | None  # frames in all, where the source promises a number
    seconds: float  # since the first frame was asked for
    points: int  # in the cloud so far
    state_bytes: int  # kept between frames
    tracking: str = "ok"  # of the newest frame: ok, weak or lost
    memory_bytes: int | None = None  # now: of the device where it is a CUDA device, else of this process


def reconstruct(
    source: str | os.PathLike[str] | Iterable[Any] | np.ndarray,
    *,
    model: str | registry.Model = "longtake-small",
    weights: str | os.PathLike[str] | None = None,
    rule: str | Rule | None = None,
    reset_every: int | Literal["auto"] | None = "auto",
    reset_when: str | ResetTrigger | None = None,
    join: str | None = None,
    loop_closure: bool = False,
    refine: bool = False,
    window: int | None = None,
    budget: int | None = None,
    camera: str = "head",
    intrinsics: np.ndarray | None = None,
    lens: Lens | str | os.PathLike[str] | None = None,
    timestamps: str | os.PathLike[str] | Mapping[int, float] | Sequence[float] | None = None,
    revise: bool = False,
    out: str | os.PathLike[str] | None = None,
    size: int | None = None,
    stride: int = 1,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    max_frames: int | None = None,
    device: str = "auto",
    precision: str | None = None,
    seed: int = 0,
    report: bool = True,
    state: str | os.PathLike[str] | None = None,
    truth: str | os.PathLike[str] | None = None,
    on_frame: Callable[[Progress], None] | None = None,
) -> Scene:
    """Reconstruct a take frame by frame and return the scene; in constant memory, where the model's is.

    Results go to the folder `out` as they come; without `out`, to a temporary folder that lives as long as the scene.

    source: a video file, a folder, glob or list of images, or an iterable of (H, W, 3) uint8 arrays.
    model: a name of `longtake models` or a loaded model, which has its `weights`, `size`, `device` and
        `precision` already.
    rule: for models with a recurrent memory, how it is written; by default ttt3r.
    reset_every: start the memory over every so many frames, chaining the poses; "auto" as is best for the model; None
        never.
    reset_when: start it over by what is seen, in words such as spent:30 or cut (longtake.continuity.trigger).
    join: how the chunks between resets meet: exact, scale or sim3 (longtake.continuity.joining); by default as is best
        for the model.
    loop_closure: recognise places that were seen before and correct poses, path and cloud at the end (extra `eval`).
    refine: let bundle adjustment of overlapping windows follow (longtake.refine): poses, depth and, unless the camera
        is known, focal length. Frames come out up to 20 later.
    window, budget: bounds of memories that grow with the take; see `Model.streams`.
    camera: "head" takes poses from the model, "solve" solves them from its points (extra `solve`).
    intrinsics: (3, 3) the camera's matrix in pixels of the source's frames, if it is known.
    lens: more that is known of it: a `Lens`, whose distortion is taken out of the frames first (extra `solve`); a file
        that `longtake.sources.read_lens` reads; or "exif", for photos. Then all that is said and written of cameras
        and pictures is of the undistorted ones.
    timestamps: seconds by the frame's index in the source, or a file of them (longtake.sources.timestamps); where it
        knows more than the source. `start`, `end` and `fps` then go by them.
    revise: for full attention, write each frame as it was last said, once it leaves the window, or at the end where
        there is none. Until then it is held in memory. By default frames are written at once, as they were first said.
    size: the longer side of the image that the model sees, in pixels; by default what the model was trained for.
    stride, fps, start, end, max_frames: which frames of the source are used; times in seconds.
    precision: float32 (the default) or bf16, see longtake.load.
    report: draw report.html and report.png at the end, which takes a second or two.
    state: file for the stream's state at the end, also after Ctrl-C; for `model.resume` and `longtake localize`.
    truth: a TUM file with the true camera path, with which the report compares: error against time.
    on_frame: called after each frame.

    Raises InputError (also where no frame comes), CheckpointError, CapabilityError, OutputError, MissingExtra; and
    Interrupted, a KeyboardInterrupt that carries the scene so far.
    """
    if refine and revise:
        raise CapabilityError("refine=True with revise=True: a frame cannot wait for both; leave one out.")
    lens = resolve_lens(lens)
    if lens is not None and intrinsics is not None:
        raise InputError("intrinsics and lens both say what the camera is; give one: Lens(intrinsics, distortion).")
    known = None if truth is None else read_tum(truth)
    chosen = {"stride": stride, "fps": fps, "start": start, "end": end, "max_frames": max_frames}
    take = open_known(source, lens=lens, timestamps=timestamps, **chosen)
    if isinstance(model, str):
        model = registry.load(model, weights, device=device, size=size, precision=precision or "float32")
    elif weights is not None or size is not None or device != "auto" or precision is not None:
        raise InputError(
            f"weights={weights!r}, size={size!r}, device={device!r}, precision={precision!r} with a loaded model, "
            "which has them already: give them to longtake.load, or name the model here."
        )
    if revise and not model.capabilities.revises:
        raise CapabilityError(
            f"revise=True with {model.name}: what it says of a frame never changes. Leave it out, or use vggt, fast3r."
        )
    stream = model.stream(
        rule=rule,
        reset_every=reset_every,
        reset_when=reset_when,
        join=join,
        window=window,
        budget=budget,
        revise=revise,  # without: new predictions of earlier frames would be made for nobody
        camera=camera,
        # Frames bring their own, which goes first; that of the stream is kept in its saved state.
        intrinsics=take.pinhole() if intrinsics is None and isinstance(take, KnownSource) else intrinsics,
    )
    options = {
        "reset_every": stream.reset_every,
        "reset_when": stream.describe()["reset_when"],
        "join": stream.join,
        "loop_closure": loop_closure,
        "refine": refine,
        "window": window,
        "budget": budget,
        "camera": camera,
        "revise": revise,
        "intrinsics": None if intrinsics is None else stream.describe()["intrinsics"],
        "lens": lens.to_dict() if isinstance(lens, Lens) else lens,
        "timestamps": timestamps if isinstance(timestamps, str | os.PathLike | None) else "given",
        "size": size,
        "precision": stream.describe()["precision"],
        "stride": stride,
        "fps": fps,
        "start": start,
        "end": end,
    }
    run = Run(
        model=model.name,
        spec=model.config.to_dict(),
        weights=model.weights,
        weights_sha256=model.weights_sha256,
        rule=stream.rule.name,
        seed=seed,
        source=os.fspath(source) if isinstance(source, str | os.PathLike) else take.name,
        device=str(stream.device),
        options=options | {"max_frames": max_frames},
    )
    folder = Path(tempfile.mkdtemp(prefix="longtake-")) if out is None else Path(out)
    recorder = Recorder(folder, run, report=report, truth=known)
    try:
        with seeded(seed, stream.device):  # nothing here draws numbers today; a rule may
            try:
                known_camera = intrinsics is not None or lens is not None
                refiner = Refiner(focal=not known_camera) if refine else None
                _record(take, stream, recorder, on_frame, loop_closure, refiner)
            finally:
                if state is not None and any(stream.frames):
                    stream.save(Path(state))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and recorder.status != "not started":
            raise Interrupted(_scene(recorder, stream, temporary=out is None)) from error
        if out is None and not isinstance(error, OutputError):  # nobody knows the folder; an OutputError names it
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return _scene(recorder, stream, temporary=out is None)


def _record(
    take: Source,
    stream: Stream,
    recorder: Recorder,
    on_frame: Callable[[Progress], None] | None,
    loop_closure: bool = False,
    refiner: Refiner | None = None,
) -> None:
    """Decode and prepare ahead, step, hand over: each in a thread of its own, the model and `on_frame` in this one."""
    begin = time.perf_counter()
    waits = stream.rule.revise if isinstance(stream.rule, Keep) else False
    held = Revisions(waits=waits) if refiner is None else refiner
    start_counting(stream.device)
    with ExitStack() as stack:
        frames = stack.enter_context(_prepared(take, stream))
        closer = None
        if loop_closure:
            keyframes = stack.enter_context(tempfile.TemporaryDirectory(prefix="longtake-keyframes-"))
            closer = LoopCloser(stream.model, Archive(Path(keyframes)))
            recorder.correction = closer.correct
        looking = take.prefetch and stream.engine.looks_ahead
        paired = stack.enter_context(closing(with_next(frames) if looking else ((frame, None) for frame in frames)))
        # Before the recorder: a source without a frame (which is an InputError) leaves no folder behind.
        first = next(paired)
        with recorder, _Writing(recorder, stream.device) as writing:
            try:
                for frame, upcoming in chain([first], paired):
                    ready = time.perf_counter()
                    prediction = stream.step(frame, upcoming=upcoming)
                    finish_work(stream.device)
                    writing.write(held.take(prediction, time.perf_counter() - ready))
                    if closer is not None:
                        closer.see(stream, prediction)
                        recorder.tell(loop_closures=len(closer.edges))
                    if on_frame:
                        seconds = time.perf_counter() - begin
                        state, shown = stream.state_bytes, writing.frames + len(held)
                        tracking, memory = prediction.tracking, bytes_now(stream.device)
                        on_frame(Progress(shown, take.length, seconds, writing.points, state, tracking, memory))
            except OutputError:  # what could not be written is not tried again
                held.drop()
                raise
            finally:
                recorder.notes.extend(take.notes)
                recorder.tell(state_bytes=stream.state_bytes, peak_bytes=peak_bytes(stream.device))
                writing.write(held.rest())


@contextmanager
def _prepared(take: Source, stream: Stream) -> Iterator[Iterator[Prepared]]:
    """The take's frames, ready for the model: by a thread that is ahead of it where the source reads ahead too.

    A live source does not: its newest frame is asked for when the model is ready for it.
    """

    def ready() -> Generator[Prepared, None, None]:
        with closing(iter(take)) as frames:  # which stops the source's reader
            for frame in frames:
                yield stream.prepare(frame)

    with Prefetcher(ready()) if take.prefetch else closing(ready()) as frames:
        yield frames


class _Writing:
    """Context manager: hands predictions to a recorder in a thread of its own, and counts what it was given."""

    def __init__(self, recorder: Recorder, device: torch.device) -> None:
        self.frames = self.points = 0
        self._recorder = recorder
        self._outbox = Outbox[tuple[Prediction, float, Tensor]](lambda frame: recorder.add(*frame), device=device)
        self._waiting: deque[tuple[Prediction, float]] = deque()
        self._unsolved: list[str] = []

    def write(self, final: Iterable[tuple[Prediction, float]]) -> None:
        """Hand over frames with their seconds. Raises OutputError where an earlier one could not be written.

        What a Ctrl-C keeps from being handed over goes first the next time.
        """
        self._waiting.extend(final)
        while self._waiting:
            prediction, seconds = self._waiting[0]
            pixels = self._recorder.pick(prediction, self.frames, self.points)
            self._outbox.put((prediction, seconds, pixels))
            self._waiting.popleft()
            self.frames, self.points = self.frames + 1, self.points + len(pixels)
            if prediction.camera not in ("head", "solve"):
                self._unsolved.append(f"frame {prediction.index}: {prediction.camera}")

    def __enter__(self) -> Self:
        self._outbox.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._outbox.__exit__(*error)
        finally:
            if self._unsolved:
                told = f"{len(self._unsolved)} frames keep the head's camera, the first of them {self._unsolved[0]}"
                self._recorder.notes.append(told)


def _scene(recorder: Recorder, stream: Stream, *, temporary: bool) -> Scene:
    about = stream.describe()
    facts = {key: about[key] for key in ("model", "rule", "device", "precision", "threads")}
    return Scene(recorder.out, recorder.summary() | facts, recorder.notes, temporary=temporary)
