# SPDX-License-Identifier: Apache-2.0
"""Compare Longtake with a conformance kit, tensor by tensor.

    python tests/conformance/run.py FOLDER [--strict] [--full] [--only NAME] [--dtype float64,float32] [--quiet]

FOLDER is a kit (recurrent, fullattn, metrics), a part of one (a case, `postproc`, `official`, `fullsize`), or any
folder in one of those formats; what it holds is found out from its files, and no name of a case or a run is expected.
One line per tensor: case, run, field, precision, largest absolute error, that over max |golden|, what is allowed.
Exit status 0 if nothing failed, 1 if something did (or is not built, under --strict), 2 if the folder holds nothing of
the kind. docs/conformance.md explains the lines.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from conformance_depth import check_metrics_depth
from conformance_fast3r import Fast3rCase
from conformance_metrics import check_metrics_pose
from conformance_official import check_fullsize, check_keys
from conformance_point3r import Point3rCase
from conformance_points import check_metrics_points
from conformance_postproc import FUNCTIONS, check_metrics_focal, check_postproc
from conformance_recurrent import Case
from conformance_report import DTYPES, FAIL, HEADER, NOT_BUILT, Report
from conformance_vggt import VggtCase

from longtake.errors import LongtakeError

CASES: dict[str, Callable[[Path, Report, str], Any]] = {  # arch -> what checks its cases
    "cut3r": Case,
    "fast3r": Fast3rCase,
    "point3r": Point3rCase,
    "streamvggt": VggtCase,
    "vggt": VggtCase,
}
FAMILIES_TO_COME: set[str] = set()
FULL = 4
POSTPROC = {f"{name}.safetensors" for name in FUNCTIONS} | {"images.json", "postproc.json"}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="a kit, a case, or any folder in a kit's format")
    parser.add_argument("--strict", action="store_true", help="fail where a family is not built yet")
    parser.add_argument("--full", action="store_true", help="also run the official sizes (minutes, 3.2 GB each)")
    parser.add_argument("--only", metavar="NAME", help="only this case, run, or file of goldens")
    parser.add_argument("--dtype", default="float64,float32", help="precisions, by default float64,float32")
    parser.add_argument("--quiet", action="store_true", help="print only failures and the table")
    options = parser.parse_args(argv)
    options.dtypes = options.dtype.split(",")
    if unknown := set(options.dtypes) - set(DTYPES):
        parser.error(f"--dtype {','.join(sorted(unknown))}: there are {', '.join(DTYPES)}")
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is not a folder")
    return options


def check_case(report: Report, folder: Path, dtypes: list[str], only: str | None) -> None:
    """Check one folder with a case.json, whatever its family."""
    about = json.loads((folder / "case.json").read_text())
    arch, runs = about.get("arch", ""), {run["name"] for run in about.get("runs", about.get("inputs", []))}
    if only not in (None, folder.name) and only not in runs:
        return
    if arch in FAMILIES_TO_COME:
        report.remark(folder.name, arch, "*", NOT_BUILT, "this family is not built yet")
    elif arch not in CASES:
        report.remark(folder.name, arch, "*", FAIL, f"arch {arch!r} is not a family that this program knows")
    else:
        for dtype in dtypes:
            CASES[arch](folder, report, dtype).check(only if only in runs else None)


def check_metrics(report: Report, folder: Path, names: set[str], dtypes: list[str], only: str | None) -> None:
    """Check one folder with a NAME_metrics.json; `only` may name the folder or one of its clouds."""
    if "points_metrics.json" in names:
        check_metrics_points(report, folder, only)
    if only not in (None, folder.name):
        return
    if "focal_metrics.json" in names:
        check_metrics_focal(report, folder, dtypes)
    if "pose_metrics.json" in names:
        check_metrics_pose(report, folder)
    if "depth_metrics.json" in names:
        check_metrics_depth(report, folder)


def parts_of(folder: Path, options: argparse.Namespace, report: Report) -> list[tuple[int, str, Callable[[], None]]]:
    """Find what the folder holds: (rank, name, check), single functions first, official sizes (rank FULL) last."""
    dtypes, only = options.dtypes, options.only
    # float64 at the official size takes 6.4 GB: only if it is asked for
    full_dtypes = ["float32"] if dtypes == list(DTYPES) else dtypes
    found: list[tuple[int, str, Callable[[], None]]] = []
    for path in (path for path in sorted([folder, *folder.rglob("*")]) if path.is_dir()):
        names = {entry.name for entry in path.iterdir()}
        if "case.json" in names:
            found.append((2, path.name, partial(check_case, report, path, dtypes, only)))
        elif path.name == "postproc" or POSTPROC & names:
            found.append((0, path.name, partial(check_postproc, report, path, dtypes, only)))
        elif any(name.endswith(".keys.json") for name in names):
            found.append((1, path.name, partial(check_keys, report, path, only)))
        elif any(name.endswith("_metrics.json") for name in names):
            found.append((3, path.name, partial(check_metrics, report, path, names, dtypes, only)))
        elif any(name.endswith(".run.safetensors") for name in names):
            check = partial(check_fullsize, report, path, full_dtypes, full=options.full, only=only)
            found.append((FULL, path.name, check))
    return sorted(found, key=lambda part: part[0])


def main(argv: list[str] | None = None) -> int:
    """Run everything that the folder holds; return the exit status."""
    options = arguments(argv)
    report = Report(quiet=options.quiet)
    parts = parts_of(options.folder.resolve(), options, report)
    if not parts:
        print(f"{options.folder}: nothing in a kit's format (no case.json, postproc, *.keys.json or *_metrics.json)")
        return 2
    print(HEADER)
    start, threads = time.perf_counter(), torch.get_num_threads()
    for rank, name, check in parts:
        torch.set_num_threads(threads if rank == FULL else 1)  # tiny models on many threads are slower
        try:
            check()
        except LongtakeError as error:  # the library refused: that is a failure of this part, not of the program
            report.remark(name, "-", "-", FAIL, f"{type(error).__name__}: {' '.join(str(error).split())}")
        except Exception:
            traceback.print_exc()
            report.remark(name, "-", "-", FAIL, "stopped by the error above")
        finally:
            torch.set_num_threads(threads)
    if not report.rows:
        print(f"{options.folder}: nothing here is called {options.only!r}")
        return 2
    print(report.summary())
    print(f"{time.perf_counter() - start:.1f} s")
    return 1 if report.failed(strict=options.strict) else 0


if __name__ == "__main__":
    sys.exit(main())
