# SPDX-License-Identifier: Apache-2.0
"""cameras.json: what docs/conventions.md says, frame by frame, readable even when the take was cut off."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from take_maker import pose, prediction

from longtake.errors import InputError
from longtake.outputs import read_cameras
from longtake.outputs.cameras import assemble_cameras, camera_record, read_lines
from longtake.outputs.take import frame_of


def test_one_frame_says_everything() -> None:
    frame = prediction(4)
    record = camera_record(frame, files={"depth": "depth/000004.png"}, cloud=(100, 25))
    assert json.loads(json.dumps(record)) == record
    assert (record["index"], record["time"], record["name"]) == (12, 0.4, "frame 12")
    assert record["size"] == [32, 24] and record["original_size"] == [64, 48]
    assert record["depth"] == "depth/000004.png" and record["cloud"] == [100, 25]
    np.testing.assert_allclose(record["world_from_cam"], pose(4), atol=1e-7)
    np.testing.assert_allclose(record["intrinsics"], [[28.8, 0, 16], [0, 28.8, 12], [0, 0, 1]], rtol=1e-6)
    # Twice the size, integer centres: u' = (u + 0.5) 2 - 0.5.
    np.testing.assert_allclose(record["intrinsics_original"], [[57.6, 0, 32.5], [0, 57.6, 24.5], [0, 0, 1]], rtol=1e-6)


def test_a_camera_that_is_not_finite_is_null_and_the_file_stays_json() -> None:
    broken = torch.full((4, 4), torch.nan)
    record = camera_record(prediction(0, world_from_cam=broken), files={}, cloud=(0, 0))
    assert record["world_from_cam"] is None and record["intrinsics"] is not None
    assert "NaN" not in json.dumps(record)


def test_lines_become_one_document(tmp_path: Path) -> None:
    part, path = tmp_path / "cameras.jsonl.part", tmp_path / "cameras.json"
    records = [camera_record(prediction(i), files={"depth": f"depth/{i:06d}.png"}, cloud=(5 * i, 5)) for i in range(7)]
    lines = [json.dumps(record | {"files": {"depth/0.png": ["aa", 1]}}) for record in records]
    for count in (7, 1, 0):
        part.write_text("".join(line + "\n" for line in lines[:count]))
        assemble_cameras(part, path, is_metric=count == 7)
        document = read_cameras(path)
        assert document["frames"] == records[:count]
        assert document["unit"] == ("metre" if count == 7 else "scene unit") and document["is_metric"] == (count == 7)
        assert "integer coordinates" in document["conventions"]["intrinsics"]
    assert [file.name for file in tmp_path.iterdir() if file != part] == ["cameras.json"]


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    part = tmp_path / "cameras.jsonl.part"
    lines = [json.dumps(camera_record(prediction(i), files={}, cloud=(0, 0))) for i in range(3)]
    part.write_text("\n".join(lines)[:-40])
    assert [record["index"] for record in read_lines(part)] == [0, 3]


@pytest.mark.parametrize("name", ["/etc/hostname", "../secret.jpg", "images/../../secret.jpg"])
def test_a_take_names_no_file_outside_its_folder(name: str, tmp_path: Path) -> None:
    """A take from elsewhere is data: its pictures are copied into exports, so they must be its own."""
    record = camera_record(prediction(0), files={"image": "images/000000.jpg"}, cloud=(0, 0))
    assert frame_of(record, 0, tmp_path).files["image"] == tmp_path / "images" / "000000.jpg"
    with pytest.raises(InputError, match="frame 3 .*outside"):
        frame_of(record | {"image": name}, 3, tmp_path)


def test_what_is_no_cameras_file_is_named(tmp_path: Path) -> None:
    for content in ("", "[1]", '{"format": "other"}'):
        (tmp_path / "c.json").write_text(content)
        with pytest.raises(InputError, match=r"c\.json.*cameras.json"):
            read_cameras(tmp_path / "c.json")
