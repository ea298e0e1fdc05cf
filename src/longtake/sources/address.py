# SPDX-License-Identifier: Apache-2.0
"""What a live source is called: a webcam's number or device, an address, a pipe, the screen."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from longtake.errors import InputError

SCHEMES = ("rtsp", "rtsps", "http", "https", "tcp", "udp", "rtp", "srt", "rtmp")
# What a stream may lead to; never a file of this machine, which a play list could otherwise name.
_PROTOCOLS = "rtsp,rtp,srtp,udp,tcp,tls,http,https,crypto,srt,rtmp,httpproxy"
_SCREEN = re.compile(r"screen(?::(\d+),(\d+),(\d+)x(\d+))?")


@dataclass(frozen=True, slots=True)
class Address:
    """How FFmpeg opens a live source."""

    name: str  # to show: without user name and password
    file: str  # for FFmpeg; "-" is standard input
    format: str | None = None  # FFmpeg's name of the device or format, None: it finds out
    options: dict[str, str] = field(default_factory=dict)

    @property
    def is_pipe(self) -> bool:
        """Whether the source is standard input, which cannot be opened twice."""
        return self.file == "-"


def parse_address(source: str, *, system: str = sys.platform) -> Address:
    """Read what the user typed: 0, /dev/video0, rtsp://..., http://..., -, screen, screen:X,Y,WIDTHxHEIGHT.

    Raises InputError for anything else.
    """
    scheme = source.partition("://")[0].lower() if "://" in source else ""
    if source == "-":
        return Address("standard input", "-")
    if scheme in SCHEMES:
        parts = urlsplit(source)
        options = {"protocol_whitelist": _PROTOCOLS, "fflags": "nobuffer"}
        if scheme.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"  # lost packets would be grey squares
        return Address(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), source, None, options)
    if source.isdecimal() or re.fullmatch(r"/dev/video\d+", source):
        return _webcam(source, system)
    if found := _SCREEN.fullmatch(source):
        return _screen(found, system)
    raise InputError(
        f"{source}: not a live source. Give a webcam's number (0), /dev/video0, an address (rtsp://, http://, tcp://, "
        "udp://, srt://, ...), - for standard input, or screen. Files go to `longtake reconstruct`."
    )


def _webcam(source: str, system: str) -> Address:
    if system.startswith("linux"):
        device = source if source.startswith("/") else f"/dev/video{source}"
        return Address(device, device, "v4l2")
    if system == "darwin":
        return Address(f"webcam {source}", source, "avfoundation", {"framerate": "30"})
    raise InputError(f"{source}: webcams are read on Linux and macOS; here, give an address or a pipe.")


def _screen(found: re.Match[str], system: str) -> Address:
    if not system.startswith("linux"):
        raise InputError("screen: it is read on Linux with X11 only; here, pipe a recorder into `longtake live -`.")
    display = os.environ.get("DISPLAY")
    if not display:
        raise InputError("screen: there is no X11 display here (DISPLAY is not set).")
    options = {"framerate": "15", "draw_mouse": "0"}  # the pointer is no part of the scene
    corner = ""
    if found[1] is not None:
        options["video_size"] = f"{found[3]}x{found[4]}"
        corner = f"+{found[1]},{found[2]}"
    return Address(found[0], display + corner, "x11grab", options)
