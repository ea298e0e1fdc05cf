# SPDX-License-Identifier: Apache-2.0
"""Take the picture of the viewer that the documentation shows: python tools/viewer_picture.py TAKE OUT.png

Needs Chromium and the extra `view`. The picture is drawn by software, which takes a while.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser import Browser  # pyright: ignore[reportMissingImports]

from longtake.viewer import Viewer

CLOSE = "document.querySelectorAll('.mantine-Notification-closeButton').forEach((e) => e.click())"


def main(take: str, out: str) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Viewer(Path(take), port=0, max_points=800_000) as viewer,
        Browser(Path(folder), (1400, 1000)) as page,
    ):
        page.open(viewer.url)
        page.reads("points shown")
        page.run(CLOSE)
        viewer._panel.percent.value = 50
        before = page.picture()
        for _ in range(20):
            time.sleep(3)
            page.run(CLOSE)
            after = page.picture()
            if (after == before).all():
                break
            before = after
        Image.fromarray(np.asarray(after)).quantize(160, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
