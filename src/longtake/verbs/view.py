# SPDX-License-Identifier: Apache-2.0
"""`longtake view`: a take in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def main(
    take: Annotated[Positional[Path], arg(metavar="TAKE")],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    max_points: int = 1_000_000,
    open: bool = False,  # noqa: A002
) -> None:
    """Show a take in the browser: points, path, cameras, every frame's depth and confidence, through time.

    The take may still be running in another terminal. Ctrl-C ends the viewer.

    Args:
        take: A folder that `longtake reconstruct` wrote or is writing.
        host: Address to listen on; by default only this machine can look. 0.0.0.0 lets the whole network look.
        port: Port to listen on; where it is taken, the next free one.
        max_points: Show at most so many points, evenly spread over the take.
        open: Open the page in this machine's browser.
    """
    from longtake.errors import InputError
    from longtake.outputs.take import read_take
    from longtake.viewer import Viewer
    from longtake.viewer.store import CHUNKS

    if max_points < CHUNKS:
        raise InputError(f"--max-points {max_points}: give at least {CHUNKS}.")
    read_take(take)
    with Viewer(take, host=host, port=port, max_points=max_points) as viewer:
        print(f"{take}: look at {viewer.url} (Ctrl-C ends it)", flush=True)
        if open:
            import webbrowser

            webbrowser.open(viewer.url)
        viewer.wait()
