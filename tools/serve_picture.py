# SPDX-License-Identifier: Apache-2.0
"""Take the picture of the camera page that the documentation shows: python tools/serve_picture.py VIDEO OUT.png

Chromium is told that the video is its camera. Needs Chromium and the extra `serve`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser import Browser  # pyright: ignore[reportMissingImports]

import longtake
from longtake.serve.service import Service

CAMERAS = 60  # answers before the picture is taken


def camera_file(video: str, path: Path) -> None:
    """Write the video as the Motion JPEG that Chromium plays as a camera."""
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=15)
        stream.pix_fmt, stream.qmin = "yuvj420p", 2
        for frame in longtake.video(video, max_frames=200):
            if not stream.width or not stream.codec_context.is_open:
                stream.height, stream.width = frame.image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode(None))


def main(video: str, out: str) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "camera.mjpeg"
        camera_file(video, file)
        flags = [
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-video-capture={file}",
        ]
        with (
            Service(longtake.load("longtake-small"), port=0) as service,
            Browser(Path(folder), (1280, 800), flags) as page,
        ):
            page.open(service.page)
            page.until("document.getElementById('start')?.disabled === false", "there is no button")
            page.run("(document.getElementById('start').click(), true)")
            page.until(f"Scene.cameras > {CAMERAS}", "there are no answers", 240)
            picture = np.asarray(page.picture())
    Image.fromarray(picture).quantize(200, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
