# SPDX-License-Identifier: Apache-2.0
"""What this machine has, and what to type for what it lacks."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

LIBRARIES = ("torch", "numpy", "safetensors", "av", "pillow", "tyro", "rich")
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")
# What pip calls it: the module that it brings.
EXTRAS = {
    "view": "viser",
    "serve": "fastapi",
    "eval": "scipy",
    "solve": "cv2",
    "mesh": "open3d",
    "hub": "huggingface_hub",
    "rerun": "rerun",
}
# What pip calls a module, where that differs: any of these may have brought it.
SOLD_AS = {
    "cv2": ("opencv-python-headless", "opencv-python"),
    "open3d": ("open3d-cpu", "open3d"),
    "rerun": ("rerun-sdk",),
}
FOR = {  # what an extra is for
    "view": "the viewer",
    "serve": "the service",
    "eval": "evaluation, loop closure",
    "solve": "cameras solved from points, undistortion, YAML",
    "mesh": "export as a surface",
    "hub": "official weights by --weights hub",
    "rerun": "export to Rerun",
}
ENOUGH_DISK = 1_000_000_000  # bytes; the demo leaves far less


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    name: str
    found: str
    status: str  # "ok", "missing" (an extra or a decoder, the rest works) or "broken" (the main job cannot run)
    remedy: str = ""  # what to type; empty if nothing needs doing


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _libraries() -> Iterator[Check]:
    for library in LIBRARIES:
        version = _version(library)
        if version:
            yield Check(library, version, "ok")
        else:
            yield Check(library, "not installed", "broken", "pip install longtake")


def _device() -> Iterator[Check]:
    import torch

    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    yield Check("cpu", f"{platform.processor() or platform.machine()}, {threads}", "ok")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Check(f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB", "ok")
    elif torch.backends.mps.is_available():
        yield Check("mps", "Apple GPU", "ok")
    else:
        yield Check("gpu", "none that torch can use; the CPU is used", "missing")


def _decoders() -> Iterator[Check]:
    import av

    missing = [name for name in DECODERS if name not in av.codecs_available]
    found = ", ".join(name for name in DECODERS if name not in missing)
    if not missing:
        yield Check("video decoders", found, "ok")
    elif "h264" in missing:
        yield Check("video decoders", found or "none", "broken", "pip install --force-reinstall av")
    else:
        yield Check("video decoders", f"{found}; not {', '.join(missing)}", "missing")


def _extras() -> Iterator[Check]:
    for extra, library in EXTRAS.items():
        names, use = SOLD_AS.get(library, (library,)), FOR[extra]
        if find_spec(library):
            version = next(filter(None, map(_version, names)), "")
            yield Check(f"[{extra}]", f"{names[0]} {version}".rstrip() + f", for {use}", "ok")
        else:
            remedy = f"pip install 'longtake[{extra}]'"
            yield Check(f"[{extra}]", f"{names[0]} is not installed, for {use}", "missing", remedy)


def _model() -> Iterator[Check]:
    from longtake.errors import LongtakeError
    from longtake.registry import load

    try:
        load("longtake-small", device="cpu")
    except LongtakeError as error:
        yield Check("longtake-small", str(error), "broken", "pip install --force-reinstall longtake")
    else:
        yield Check("longtake-small", "the embedded weights load", "ok")


def _disk() -> Iterator[Check]:
    free = shutil.disk_usage(".").free
    text = f"{free / 1e9:.1f} GB free in this folder"
    yield Check(
        "disk", text, "ok" if free > ENOUGH_DISK else "missing", "" if free > ENOUGH_DISK else "free some space"
    )


def examine() -> list[Check]:
    """Look at Python, libraries, devices, decoders, extras, the embedded model and the disk.

    Where a library of the core is missing, what needs it is not looked at.
    """
    checks = [Check("python", f"{platform.python_version()} on {platform.platform(terse=True)}", "ok"), *_libraries()]
    if all(check.status == "ok" for check in checks):
        for look in (_device, _decoders, _model):
            checks += look()
    return [*checks, *_extras(), *_disk()]
