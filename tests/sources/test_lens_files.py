# SPDX-License-Identifier: Apache-2.0
"""Lenses from YAML as robots have it, and from COLMAP's binary file: read, or refused by name."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix
from longtake.sources import read_lens

K = camera_matrix(80, 82, 47.5, 31.5)
BENT = (-0.1, 0.02, 0.001, -0.002)
INFO = """\
image_width: 96
image_height: 64
camera_name: front
camera_matrix:
  rows: 3
  cols: 3
  data: [80.0, 0.0, 47.5,
         0.0, 82.0, 31.5, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.1, 0.02, 0.001, -0.002, 0.0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [70, 0, 48, 0, 0, 71, 32, 0, 0, 0, 1, 0]}
"""
ECHO = """\
header: {stamp: {sec: 1, nanosec: 5}, frame_id: camera}
height: 64
width: 96
distortion_model: plumb_bob
d:
- -0.1
- 0.02
- 0.001
- -0.002
- 0.0
k: [80.0, 0.0, 47.5, 0.0, 82.0, 31.5, 0.0, 0.0, 1.0]
binning_x: 0
roi: {x_offset: 0, y_offset: 0, height: 0, width: 0, do_rectify: false}
---
"""
OPENCV = """\
%YAML:1.0
---
calibration_time: "today"
image_width: 96
image_height: 64
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 80., 0., 47.5, 0., 82., 31.5, 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 5
   cols: 1
   dt: d
   data: [ -0.1, 0.02, 0.001, -0.002, 0. ]
"""
EUROC = """\
sensor_type: camera
T_BS: {cols: 4, rows: 4, data: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}
resolution: [96, 64]
camera_model: pinhole
intrinsics: [80, 82, 47.5, 31.5] # fu, fv, cu, cv
distortion_model: radial-tangential
distortion_coefficients: [-0.1, 0.02, 0.001, -0.002]
"""
KALIBR = """\
cam0:
  camera_model: pinhole
  distortion_coeffs: [-0.1, 0.02, 0.001, -0.002]
  distortion_model: radtan
  intrinsics: [80, 82, 47.5, 31.5]
  resolution: [96, 64]
  rostopic: /cam0/image_raw
"""
YAML = {"info": INFO, "echo": ECHO, "echo, ROS 1": ECHO.replace("k:", "K:").replace("d:\n", "D:\n"), "twice": 2 * ECHO}
YAML |= {"opencv": OPENCV, "euroc": EUROC, "kalibr": KALIBR}


@pytest.mark.parametrize("kind", YAML)
def test_robots_tell_their_lens_in_yaml(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="needs the extra solve")
    (tmp_path / "camera.yaml").write_text(YAML[kind])
    lens = read_lens(tmp_path / "camera.yaml")
    np.testing.assert_allclose(lens.intrinsics, K)
    assert lens.size == (96, 64)
    assert lens.distortion[:4] == BENT and not any(lens.distortion[4:])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (INFO.replace("plumb_bob", "equidistant"), "distortion_model equidistant is no lens"),
        (ECHO.replace("plumb_bob", "fisheye"), "fisheye is no lens"),
        (KALIBR.replace("radtan", "equidistant"), "equidistant is no lens"),
        (KALIBR.replace("pinhole", "omni"), "camera_model omni is no lens"),
        (KALIBR + KALIBR.replace("cam0", "cam1").replace("80", "90"), "several cameras"),
        (ECHO.replace("width: 0,", "width: 48,").replace("height: 0,", "height: 64,"), "part of the picture"),
        (ECHO.replace("80.0", "0").replace("82.0", "0").replace("47.5", "0").replace("31.5", "0").replace("1.0]", "0]"),
         "never calibrated"),
        ("image_width: 96\n", "camera_matrix' is missing"),
        (INFO.replace("82.0, 31.5, ", ""), "no camera can be read"),
        ("a: [1, 2", "no YAML"),
        ("- 1\n", "holds no object"),
        ("a: !!python/object/apply:os.getcwd []\n", "no YAML"),
        ("", "holds no object"),
    ],
)  # fmt: skip
def test_yaml_that_holds_no_such_lens_is_named(text: str, said: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="needs the extra solve")
    (tmp_path / "camera.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_lens(tmp_path / "camera.yaml")


def test_colmaps_binary_file_is_read_as_its_text(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    model = pycolmap.Reconstruction()
    params = [80, 82, 48, 32, *BENT]
    model.add_camera(pycolmap.Camera(model="OPENCV", width=96, height=64, params=params, camera_id=1))
    model.write_binary(str(tmp_path))
    lens = read_lens(tmp_path / "cameras.bin")
    np.testing.assert_allclose(lens.intrinsics, K)
    assert (lens.size, lens.distortion) == ((96, 64), BENT)
    assert read_lens(tmp_path).distortion == BENT  # from the folder too


def camera(number: int, *params: float, count: int = 1) -> bytes:
    return struct.pack(f"<QiiQQ{len(params)}d", count, 1, number, 96, 64, *params)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (camera(5, 80, 82, 48, 32, 0, 0, 0, 0), "OPENCV_FISHEYE"),
        (camera(10, *([1.0] * 12)), "THIN_PRISM_FISHEYE"),
        (camera(99), "model number 99"),
        (camera(1, 80, 82, 48), "in mid entry"),
        (camera(1, 80, 82, 48, 32, count=2**60), "in mid entry"),
        (b"", "in mid entry"),
        (bytes(8), "names no camera"),
    ],
)
def test_binary_files_that_hold_no_lens_are_named(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "cameras.bin").write_bytes(data)
    with pytest.raises(InputError, match=said):
        read_lens(tmp_path / "cameras.bin")
