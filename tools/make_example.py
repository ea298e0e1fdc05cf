# SPDX-License-Identifier: Apache-2.0
"""Make examples/office_walk.mp4, the take of `make demo`, from the office_walk folder of RGB frames (MIT licence).

    python tools/make_example.py ../shared/data/office_walk

All frames in order at 15 frames a second (the folder has no times), H.264 4:2:0, the best quality that stays below
4 MB. The notice of the data goes beside it as examples/office_walk.LICENSE. One thread and a bit-exact muxer, so that
the same libraries give the same file.
"""

from __future__ import annotations

import argparse
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from longtake.sources import images, video

FPS = 15
LIMIT = 4_000_000  # bytes
ROOT = Path(__file__).resolve().parents[1]


def encode(frames: Path, out: Path, crf: float) -> int:
    """Encode a folder of images as one H.264 MP4; return its size in bytes."""
    source = images(frames, fps=FPS)
    width, height = source.size
    with av.open(str(out), "w", options={"movflags": "faststart", "fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        # Written down in the file, so that players and we undo the same conversion.
        stream.codec_context.colorspace, stream.codec_context.color_range = 5, 1  # BT.470BG (601 matrix), limited
        stream.options = {"crf": str(crf), "preset": "fast", "g": "60", "threads": "1"}
        for frame in source:
            picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
            picture.pts, picture.time_base = frame.index, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return out.stat().st_size


def psnr(frames: Path, out: Path) -> float:
    """Mean PSNR in dB of the encoded video against the pictures it came from."""
    errors = [
        float(np.mean((shown.image.astype(np.float32) - original.image.astype(np.float32)) ** 2))
        for shown, original in zip(video(out, stride=10), images(frames, fps=FPS, stride=10), strict=True)
    ]
    return float(np.mean(10 * np.log10(255**2 / np.array(errors))))


def main() -> None:
    """Encode with falling quality until the file fits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the office_walk folder: rgb/ and LICENSE")
    parser.add_argument("--out", type=Path, default=ROOT / "examples" / "office_walk.mp4")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for crf in np.arange(22, 40, 1.0):
        size = encode(args.data / "rgb", args.out, float(crf))
        print(f"crf {crf:g}: {size / 1e6:.2f} MB")
        if size <= LIMIT:
            break
    shutil.copyfile(args.data / "LICENSE", args.out.with_suffix(".LICENSE"))
    print(
        f"{args.out}: {video(args.out).length} frames, {size / 1e6:.2f} MB, {psnr(args.data / 'rgb', args.out):.1f} dB"
    )


if __name__ == "__main__":
    main()
