# SPDX-License-Identifier: Apache-2.0
"""`longtake data check`: what a folder of ground truth is, and whether it can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def main(
    folder: Annotated[Positional[Path], arg(metavar="FOLDER")],
    *,
    dataset: str | None = None,
    frames: int | None = None,
    json: bool = False,
) -> int:
    """Say what a data set's folder is and what is missing or broken, and prove that poses and depth agree.

    The proof moves depth from frame to frame with the poses and the camera and compares it with the depth there. Poses
    in the wrong direction, other axes and a wrong depth scale are named. Ends with 1 if something is broken or does not
    agree.

    Args:
        folder: The root of a data set, or one of its sequences.
        dataset: Read it as this: rgbd (the plain folder), tum, bonn, kitti, kitti-odometry, scannet, 7scenes, nrgbd,
            sintel, colmap, nerfstudio. By default the layout decides.
        frames: Read the pictures of at most so many frames of each sequence; by default all.
        json: Print one JSON document instead of text.
    """
    from longtake.datasets.survey import as_json, survey_folder
    from longtake.datasets.table import detect
    from longtake.errors import InputError

    if frames is not None and frames < 1:
        raise InputError(f"--frames {frames}: at least one frame must be looked at.")
    name = dataset or detect(folder)
    if not json:
        print(f"{folder}: {name}")
    found, said = [], []
    for survey in survey_folder(folder, name, frames):
        found.append(survey)
        if not json:
            print("\n".join(survey.lines(said)), flush=True)
            said = survey.notes
    broken = sum(bool(survey.problems) for survey in found)
    if json:
        from json import dumps

        print(dumps({"folder": str(folder), "dataset": name, "sequences": [as_json(survey) for survey in found]}))
    else:
        print(f"{broken} of {len(found)} sequences have problems" if broken else f"sound: {len(found)} sequence(s)")
    return int(broken > 0)
