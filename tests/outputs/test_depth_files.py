# SPDX-License-Identifier: Apache-2.0
"""Depth maps: 16-bit grey PNG, thousandths, 0 for what is not known."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from longtake.errors import InputError
from longtake.outputs import read_depth
from longtake.outputs.depth import encode_depth

VALUES = st.one_of(st.floats(0, 70, width=32), st.sampled_from([0.0, -1.0, np.nan, np.inf, -np.inf, 65.535, 65.536]))


@settings(deadline=None, max_examples=50)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=VALUES))
def test_known_depths_come_back_and_others_become_zero(
    tmp_path_factory: pytest.TempPathFactory, depth: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("depth") / "d.png"
    data, too_far = encode_depth(depth)
    path.write_bytes(data)
    found = read_depth(path)
    with np.errstate(invalid="ignore"):
        far = (depth >= 65.5355) & (depth < np.inf)
        known = (depth > 0) & (depth < np.inf) & ~far
    assert found.shape == depth.shape and found.dtype == np.float32
    np.testing.assert_allclose(found[known], depth[known], atol=0.5e-3 + 4e-6)
    assert not found[~known].any()
    assert too_far == far.sum()


def test_the_bytes_are_those_of_a_16_bit_grey_png() -> None:
    data, _ = encode_depth(np.array([[1.0, 0.0, 65.535]]))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">IIBB", data[16:26]) == (3, 1, 16, 0)  # width, height, bits, colour type grey


def test_other_programs_read_millimetres(tmp_path: Path) -> None:
    data, _ = encode_depth(np.array([[1.2344, 0.0015], [3.0, 0.0]]))
    (tmp_path / "d.png").write_bytes(data)
    with Image.open(tmp_path / "d.png") as image:
        assert np.asarray(image).tolist() == [[1234, 2], [3000, 0]]


def test_what_is_no_depth_map_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "rgb.png")
    with pytest.raises(InputError, match=r"rgb.png.*RGB; wanted 16-bit grey"):
        read_depth(tmp_path / "rgb.png")
    (tmp_path / "text.png").write_text("depth")
    with pytest.raises(InputError, match="cannot be read as a depth map"):
        read_depth(tmp_path / "text.png")
