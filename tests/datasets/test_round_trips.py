# SPDX-License-Identifier: Apache-2.0
"""Every layout: what was written is read back, equal within the quantisation, and known for what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import FRAMES, LAYOUTS, SIZE, take

from longtake.datasets.reading import LazySequence, readable
from longtake.datasets.table import READERS, detect, open_sequence
from longtake.datasets.write import WRITERS, write_take
from longtake.errors import InputError, OutputError

LOSSY = {"rgbd", "scannet"}  # JPEG


def _write(case: str, out: Path) -> LazySequence:
    dataset, write, _, _ = LAYOUTS[case]
    write(out, take())
    sequences = open_sequence(dataset, out)
    assert len(sequences) == 1
    assert isinstance(sequences[0], LazySequence)
    return sequences[0]


def test_every_reader_and_every_writer_is_tried_here() -> None:
    assert {case[0] for case in LAYOUTS.values()} == set(READERS)
    assert set(WRITERS) <= set(LAYOUTS)


@pytest.mark.parametrize("case", LAYOUTS)
def test_what_was_written_is_read_back(case: str, tmp_path: Path) -> None:
    dataset, _, scale, step = LAYOUTS[case]
    sequence, truth = _write(case, tmp_path), take()
    assert detect(tmp_path) == sequence.dataset == dataset
    assert (len(sequence), sequence.dropped) == (FRAMES, [])
    assert all(any(note.startswith(word) for note in sequence.notes) for word in ("depth", "poses", "camera"))
    frames = list(readable(sequence))
    assert [frame.index for frame in frames] == list(range(FRAMES))
    assert [frame.name for frame in frames] == sequence.frame_names()
    assert (np.diff([frame.time for frame in frames]) > 0).all()
    for i, frame in enumerate(frames):
        assert frame.image.dtype == np.uint8
        off = np.abs(frame.image.astype(int) - truth.images[i])
        assert off.mean() < 6 if case in LOSSY else off.max() == 0
        _same_camera(case, frame.intrinsics)
        if case == "kitti":
            assert frame.world_from_cam is None
        else:
            assert frame.world_from_cam is not None and frame.world_from_cam.dtype == np.float64
            np.testing.assert_allclose(frame.world_from_cam, truth.world_from_cam[i], atol=1e-6)
        if step == 0:
            assert frame.depth is None
        else:
            assert frame.depth is not None and frame.depth.dtype == np.float32
            _same_depth(frame.depth, truth.depth[i], scale, step)


def _same_camera(case: str, intrinsics: np.ndarray | None) -> None:
    assert intrinsics is not None
    expected = take().intrinsics.copy()
    if case == "nrgbd":  # one focal length, and the published principal point whatever the picture's own
        expected[1, 1] = expected[0, 0]
        expected[:2, 2] = SIZE[0] / 2, SIZE[1] / 2
    np.testing.assert_allclose(intrinsics, expected, atol=1e-6)


def _same_depth(depth: np.ndarray, truth: np.ndarray, scale: float | None, step: int) -> None:
    assert depth.shape == truth.shape
    measured = np.zeros(depth.shape, bool)
    measured[::step, ::step] = True
    assert (depth[~measured] == 0).all()
    quantum = 0.5 / scale if scale else 0
    np.testing.assert_allclose(depth[measured], truth[measured], atol=quantum + 1e-5, rtol=1e-6)


@pytest.mark.parametrize("case", LAYOUTS)
def test_a_single_sequence_and_its_root_are_the_same(case: str, tmp_path: Path) -> None:
    sequence = _write(case, tmp_path)
    folder = {"rgbd": "take_00", "7scenes": "room00/seq-01", "kitti": "val/2011_09_26_drive_0000_sync"}
    folder |= {"kitti-odometry": "sequences/00", "sintel": "training", "nrgbd": "whiteroom"}
    alone = tmp_path / folder.get(case, sequence.name if case in ("tum", "bonn", "scannet") else ".")
    [again] = open_sequence(sequence.dataset, alone)
    assert detect(alone) == sequence.dataset
    assert again.frame_names() == sequence.frame_names()
    assert again.name in (sequence.name, alone.name)


@pytest.mark.parametrize("case", LAYOUTS)
def test_opening_reads_no_picture(case: str, tmp_path: Path) -> None:
    """With every picture and depth map replaced by rubbish the sequence still opens; reading a frame then names it."""
    _write(case, tmp_path)
    for path in tmp_path.rglob("*"):
        if path.suffix in {".png", ".jpg", ".dpt"} or path.name.endswith(".geometric.bin"):
            path.write_text("rubbish")
    [sequence] = open_sequence(LAYOUTS[case][0], tmp_path)
    assert (len(sequence), sequence.dropped) == (FRAMES, [])
    with pytest.raises(InputError, match=r"is text|cannot be read"):
        _ = sequence[1]
    assert [name for name, _ in sequence.dropped] == [sequence.frame_names()[1]]
    with pytest.raises(InputError, match="no frame is left"):
        list(readable(sequence))
    assert {name for name, _ in sequence.dropped} == set(sequence.frame_names())


@pytest.mark.parametrize("layout", WRITERS)
def test_takes_are_kept_apart_and_never_overwritten(layout: str, tmp_path: Path) -> None:
    """Two takes with different lenses: KITTI has one calibration a day, so a shared day would mix them."""
    first, second = take(), take(seed=4)
    assert first.intrinsics[0, 0] != second.intrinsics[0, 0]
    for number, each in enumerate((first, second)):
        write_take(layout, tmp_path, number, each)
    sequences = open_sequence(layout, tmp_path)
    assert len({sequence.name for sequence in sequences}) == 2
    for sequence, each in zip(sequences, (first, second), strict=True):
        frame = sequence[0]
        assert frame.intrinsics is not None
        np.testing.assert_allclose(frame.intrinsics, each.intrinsics, atol=1e-6)
    with pytest.raises(OutputError, match="is there already"):
        write_take(layout, tmp_path, 1, first)


def test_unknown_layouts_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InputError, match=r"it holds holiday.jpg. Known layouts:(.|\n)*tum"):
        detect(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        detect(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no data set 'tumm'. Did you mean 'tum'\\? Known are 7scenes"):
        open_sequence("tumm", tmp_path)
    with pytest.raises(InputError, match="no scannet sequence here"):
        open_sequence("scannet", tmp_path)
    with pytest.raises(InputError, match="no writer for the layout 'sintel'"):
        write_take("sintel", tmp_path, 0, take())
