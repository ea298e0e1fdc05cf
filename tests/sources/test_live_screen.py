# SPDX-License-Identifier: Apache-2.0
"""The screen as a source: a real X server whose screen we paint, and of which a region is read."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from waiting import PATIENCE

from longtake.errors import InputError
from longtake.sources import LiveSource

pytestmark = pytest.mark.skipif(not shutil.which("Xvfb"), reason="no X server here: apt-get install xvfb")
WIDTH, HEIGHT = 160, 120


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[np.ndarray]:
    """The pixels of a screen, (120, 160, 4) uint8 BGRx, to be painted; DISPLAY names it."""
    read, write = os.pipe()
    words = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-fbdir", str(tmp_path)]
    server = subprocess.Popen([*words, "-nolisten", "tcp"], pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as told:
            monkeypatch.setenv("DISPLAY", f":{told.readline().strip()}")
        file = tmp_path / "Xvfb_screen0"  # an XWD dump that is the screen itself: header, colours, pixels
        header = struct.unpack(">25I", file.read_bytes()[:100])
        offset, stride = header[0] + 12 * header[19], header[12]
        yield np.memmap(file, np.uint8, "r+", offset, (HEIGHT, stride // 4, 4))[:, :WIDTH]
    finally:
        server.terminate()
        server.wait(PATIENCE)


def test_a_region_of_the_screen_is_seen_as_it_changes(screen: np.ndarray) -> None:
    screen[:] = 0
    screen[30:90, 40:120, :3] = (10, 60, 200)  # blue, green, red: the region, and nothing beside it
    seen = []
    with closing(iter(LiveSource("screen:40,30,80x60"))) as frames:
        for frame in frames:
            assert frame.image.shape == (60, 80, 3)
            seen.append(frame.image[5:-5, 5:-5].reshape(-1, 3).mean(0))
            if len(seen) == 3:
                screen[30:90, 40:120, :3] = (220, 30, 20)
            if np.abs(seen[-1] - (20, 30, 220)).max() < 3:  # a picture may show half of the change
                break
            assert len(seen) < 3000
            time.sleep(0.01)
    np.testing.assert_allclose(seen[0], (200, 60, 10), atol=3)


def test_a_region_beyond_the_screen_is_named(screen: np.ndarray) -> None:
    with pytest.raises(InputError, match="screen"):
        next(iter(LiveSource("screen:100,100,80x60", patience=0)))
