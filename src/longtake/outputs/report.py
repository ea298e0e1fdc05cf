# SPDX-License-Identifier: Apache-2.0
"""Draw report.png and report.html from what a take left on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longtake.files import replacing
from longtake.outputs.display import load_display
from longtake.outputs.facts import Facts
from longtake.outputs.page import write_page
from longtake.outputs.panels import draw_panels, draw_strip
from longtake.outputs.series import read_series
from longtake.outputs.sheet import draw_sheet
from longtake.outputs.takefiles import REPORT_PAGE, REPORT_PICTURE
from longtake.outputs.thumbs import Thumb
from longtake.outputs.tracking_strip import read_tracking
from longtake.outputs.trajectory import Trajectory


def draw_report(
    out: Path,
    facts: Facts,
    thumbs: list[Thumb],
    latencies: Sequence[float] = (),
    truth: Trajectory | None = None,
) -> None:
    """Write report.png and report.html into a take's folder, each in one move. Raises OSError.

    latencies: seconds a frame, evenly spread over the take. truth: the true path; the page then shows the error.
    Reads the cloud through a memory map, so that memory does not depend on its length.
    """
    display = load_display(out)
    panels = draw_panels(display) if display else None
    strip, tracking = draw_strip(thumbs), read_tracking(out)
    series = read_series(out, latencies, truth)
    with replacing(out / REPORT_PICTURE) as draft:
        draw_sheet(facts, panels, strip, tracking).save(draft, "PNG", optimize=False, compress_level=6)
    with replacing(out / REPORT_PAGE) as draft:
        draft.write_text(write_page(facts, panels, strip, display, series, out), "utf-8")
