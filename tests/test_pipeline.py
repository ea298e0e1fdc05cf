# SPDX-License-Identifier: Apache-2.0
"""Decoding, preparing, the model and writing run beside each other; what comes out is what one loop would give."""

from __future__ import annotations

import _thread
import copy
import json
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import picture, write_clip
from model_files import our_file
from waiting import wait_for

import longtake
from longtake.engine import PlainEngine, Tuning, tune
from longtake.errors import InputError, OutputError
from longtake.frame import Frame
from longtake.geometry.camera import camera_matrix
from longtake.geometry.lens import Lens
from longtake.outputs import Recorder, Run, read_cameras
from longtake.outputs.takefiles import TakeFiles
from longtake.registry import Model
from longtake.scene import Interrupted, Progress, reconstruct
from longtake.sources import KnownSource
from longtake.sources.base import Source
from longtake.sources.selection import Picker

FRAMES = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    weights = our_file(tmp_path_factory.mktemp("model") / "tiny.safetensors")
    return longtake.load("longtake-small", weights, device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "walk.mp4", FRAMES, width=100, height=60)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Generator[None, None, None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("longtake")] == []


class Pictures(Source):
    """A source that reads ahead, like a file, and tells which threads decode and how far they are."""

    def __init__(self, count: int, *, kind: str = "video", prefetch: bool = True, broken: int | None = None) -> None:
        super().__init__(name="pictures", kind=kind, fps=30.0, prefetch=prefetch)
        self.count, self.broken, self.made, self.threads = count, broken, 0, set[str]()

    def _frames(self, picker: Picker) -> Generator[Frame, None, None]:
        for i in range(self.count):
            if i == self.broken:
                raise InputError("the source broke")
            picker.took()
            self.made, self.threads = i + 1, self.threads | {threading.current_thread().name}
            yield Frame(picture(i), i / 30, i, f"pictures:{i}")


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything but what holds times of day and speeds."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name not in {"manifest.json", "cameras.json"}}


@pytest.mark.parametrize("reset_every", [None, 5])
def test_every_file_is_that_of_a_loop_by_hand(
    model: Model, clip: Path, tmp_path: Path, reset_every: int | None
) -> None:
    reconstruct(clip, model=model, out=tmp_path / "a", report=False, reset_every=reset_every)
    stream = model.stream(reset_every=reset_every)
    with Recorder(tmp_path / "b", Run(), report=False) as recorder:
        for frame in longtake.video(clip, prefetch=False):
            recorder.add(stream.step(frame))
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    cameras = [read_cameras(tmp_path / name / "cameras.json")["frames"] for name in "ab"]
    assert cameras[0] == cameras[1] and len(cameras[0]) == FRAMES


def test_a_prepared_frame_is_the_frame(model: Model) -> None:
    one, other = model.stream(), model.stream()
    for i in range(3):
        frame = Frame(picture(i), i / 30, i, str(i))
        a, b = one.step(frame), other.step(other.prepare(frame))
        assert a.points.equal(b.points) and a.image.equal(b.image)
        assert (a.index, a.time, a.name, a.pixel_map) == (b.index, b.time, b.name, b.pixel_map)


def test_the_model_does_not_wait_for_the_writer(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one frame is being written, frames after it are stepped; at most as many as may wait."""
    write, stepped, ahead, threads = TakeFiles.add, [0], [], set()

    def slow(self: TakeFiles, *given: Any) -> None:
        wait_for(lambda: stepped[0] - self.frames >= 3 or stepped[0] == FRAMES, "the model waited for the writer")
        time.sleep(0.1)  # and may get further ahead than it should
        ahead.append(stepped[0] - self.frames)
        threads.add(threading.current_thread().name)
        write(self, *given)

    monkeypatch.setattr(TakeFiles, "add", slow)

    def note(progress: Progress) -> None:
        stepped[0] = progress.frames

    reconstruct(Pictures(FRAMES), model=model, out=tmp_path, report=False, on_frame=note)
    assert threads == {"longtake-outbox"}
    assert 3 <= max(ahead) <= 4 + 2, "too many frames waited"


def test_a_file_is_decoded_and_prepared_ahead_and_a_live_source_is_not(model: Model, tmp_path: Path) -> None:
    lead: list[int] = []
    for take in (Pictures(30), Pictures(30, kind="live", prefetch=False)):

        def note(progress: Progress, take: Pictures = take) -> None:
            if take.prefetch and progress.frames == 3:
                wait_for(lambda: take.made - progress.frames >= 2, "nothing is read ahead")
            time.sleep(0.01)
            lead.append(take.made - progress.frames)

        lead.clear()
        reconstruct(take, model=model, out=tmp_path / take.kind, report=False, on_frame=note)
        if take.prefetch:
            assert 2 <= max(lead) <= 4 + 4 + 3 and take.threads == {"longtake-prefetch"}
        else:
            assert set(lead) == {0} and take.threads == {threading.current_thread().name}


def test_a_file_is_encoded_ahead_where_that_is_on_and_a_live_source_never(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are the same; the engine is told the next frame of a file, but for the last one."""
    told, see = [], PlainEngine.see

    def noted(self: PlainEngine, *given: Any) -> Any:
        told.append(given[3] is not None)
        return see(self, *given)

    monkeypatch.setattr(PlainEngine, "see", noted)
    own = replace(model, module=copy.deepcopy(model.module))
    for name, kind, ahead in (("a", "video", False), ("b", "video", True), ("c", "live", True)):
        tune(own.module, Tuning(ahead=ahead))
        take = Pictures(7, kind=kind, prefetch=kind == "video", broken=6)
        with pytest.raises(InputError, match="the source broke"):
            reconstruct(take, model=own, out=tmp_path / name, report=False, reset_every=4)
    assert told == [False] * 6 + [True] * 5 + [False] + [False] * 6
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") == files_of(tmp_path / "c")


def test_a_source_of_a_known_lens_is_read_ahead_like_its_file(model: Model, tmp_path: Path) -> None:
    take, lead = Pictures(30), []

    def note(progress: Progress) -> None:
        if progress.frames == 3:
            wait_for(lambda: take.made - progress.frames >= 4 + 2, "little is read ahead")
        time.sleep(0.01)
        lead.append(take.made - progress.frames)

    known = KnownSource(take, lens=Lens(camera_matrix(80, 80, 32, 24)))
    reconstruct(known, model=model, out=tmp_path, report=False, on_frame=note)
    assert 4 + 2 <= max(lead) <= 3 * 4 + 4


def test_a_stop_while_the_writer_is_behind_loses_no_frame(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes while a frame waits for room in the queue: the model has seen it, so it is written."""
    write, pick, picked = TakeFiles.add, Recorder.pick, [0]

    def counted(self: Recorder, *given: Any) -> Any:
        picked[0] += 1
        return pick(self, *given)

    def slow(self: TakeFiles, *given: Any) -> None:
        if self.frames == 0:
            wait_for(lambda: picked[0] == 1 + 4 + 1)  # written, waiting, and the one there is no room for
            time.sleep(0.3)
            _thread.interrupt_main()
            time.sleep(0.5)
        write(self, *given)

    monkeypatch.setattr(Recorder, "pick", counted)
    monkeypatch.setattr(TakeFiles, "add", slow)
    state = tmp_path / "s.safetensors"
    with pytest.raises(Interrupted):
        reconstruct(Pictures(200), model=model, out=tmp_path / "a", report=False, state=state)
    written = read_cameras(tmp_path / "a" / "cameras.json")["frames"]
    assert model.resume(state).frames == [len(written)]
    assert [each["index"] for each in written] == list(range(len(written)))


def test_an_error_of_the_source_comes_after_the_frames_before_it(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the source broke"):
        reconstruct(Pictures(FRAMES, broken=7), model=model, out=tmp_path, report=False)
    assert len(read_cameras(tmp_path / "cameras.json")["frames"]) == 7


def test_an_error_in_preparing_comes_after_the_frames_before_it(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, done = type(model.module).prepare, [0]

    def fail(self: Any, image: np.ndarray) -> Any:
        done[0] += 1
        if done[0] == 6:
            raise InputError("no picture")
        return prepare(self, image)

    monkeypatch.setattr(type(model.module), "prepare", fail)
    with pytest.raises(InputError, match="no picture"):
        reconstruct(Pictures(FRAMES), model=model, out=tmp_path, report=False)
    assert len(read_cameras(tmp_path / "cameras.json")["frames"]) == 5


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a fault of ours")])
def test_an_error_in_writing_ends_the_take_with_what_is_done(
    error: Exception, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = TakeFiles._write

    def fail(self: TakeFiles, *given: Any) -> int:
        if self.frames == 5:
            raise error
        return write(self, *given)

    monkeypatch.setattr(TakeFiles, "_write", fail)
    wanted = OutputError if isinstance(error, OSError) else ValueError
    match = "frame 5 could not be written .No space.*the first 5 frames" if wanted is OutputError else "a fault"
    with pytest.raises(wanted, match=match):
        reconstruct(Pictures(200), model=model, out=tmp_path, report=False)
    assert len(read_cameras(tmp_path / "cameras.json")["frames"]) == 5
    assert json.loads((tmp_path / "manifest.json").read_text())["status"].startswith("failed: ")


def test_a_stopped_take_its_state_and_its_progress_agree(model: Model, tmp_path: Path) -> None:
    """What the model has seen when a callback stops the take is what is written, and where the state goes on."""

    def stop(progress: Progress) -> None:
        if progress.frames == 5:
            raise KeyboardInterrupt

    state = tmp_path / "s.safetensors"
    with pytest.raises(Interrupted, match="stopped after 5 frames"):
        reconstruct(Pictures(FRAMES), model=model, out=tmp_path / "a", report=False, on_frame=stop, state=state)
    reconstruct(Pictures(5), model=model, out=tmp_path / "b", report=False)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert model.resume(state).frames == [5]
