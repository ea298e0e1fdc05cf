# SPDX-License-Identifier: Apache-2.0
"""Where frames come from: video files, pictures on disk, arrays in memory. Every source is an iterable of Frame."""

from longtake.sources.base import Source
from longtake.sources.known import KnownSource, open_known, resolve_lens
from longtake.sources.lens_file import read_lens
from longtake.sources.live import LiveSource
from longtake.sources.open import images, open_source, video
from longtake.sources.prefetch import Prefetcher
from longtake.sources.probe import SourceInfo, probe

__all__ = [
    "KnownSource",
    "LiveSource",
    "Prefetcher",
    "Source",
    "SourceInfo",
    "images",
    "open_known",
    "open_source",
    "probe",
    "read_lens",
    "resolve_lens",
    "video",
]
