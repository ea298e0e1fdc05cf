# SPDX-License-Identifier: Apache-2.0
"""`longtake serve`: many cameras over the network on one model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def main(  # noqa: PLR0913
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: tuple[str, ...] = (),
    clients: int = 8,
    model: str = "longtake-small",
    weights: Path | None = None,
    rule: str = "ttt3r",
    reset_every: int | Literal["auto"] | None = "auto",
    size: int | None = None,
    device: str = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    states: Path | None = None,
    max_fps: float = 30.0,
    max_bytes: int = 4_000_000,
    max_megapixels: float = 12.0,
    idle_seconds: float = 60.0,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Serve cameras over a websocket: JPEG or H.264 in, pose, intrinsics, depth and points out. Ctrl-C ends it.

    The page that it prints turns a phone's or a laptop's camera into a client.

    Args:
        host: Address to listen on; by default only this machine can connect. 0.0.0.0 lets the whole network.
        port: Port to listen on; 0 takes a free one.
        token: What clients must say to be let in, one or several; by default one is made and printed.
        clients: How many are served at once; they are stepped together.
        model: A name that `longtake models` lists.
        weights: Weight file, for models whose weights are not in the package.
        rule: Update rule of the memory; `longtake rules` lists them.
        reset_every: Start each client's memory over every so many of its frames; the poses are chained. auto is what is
            best for the model (16 frames for longtake-small), None is never.
        size: Longer side of the image that the model sees, in pixels; by default the model's own.
        device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
        precision: Matrices are multiplied in float32, or in bf16, which is faster where the processor has it.
        states: Folder that keeps the states of clients that left; by default they go when the service ends.
        max_fps: Frames a second that one client may send; those beyond are dropped.
        max_bytes: Largest message.
        max_megapixels: Largest picture, read from its header before anything is decoded.
        idle_seconds: A client that sends no usable frame for so long loses its seat; its take is kept.
        certificate: PEM certificate, for https: phones open their camera for no other page.
        key: PEM key of the certificate.
    """
    from longtake.errors import InputError
    from longtake.registry import load
    from longtake.serve.limits import Limits
    from longtake.serve.service import Service

    if clients < 1:
        raise InputError(f"--clients {clients}: give at least 1.")
    limits = Limits(
        seats=clients,
        max_fps=max_fps,
        max_bytes=max_bytes,
        max_megapixels=max_megapixels,
        idle_seconds=idle_seconds,
    )
    loaded = load(model, weights, device=device, size=size, precision=precision)
    with Service(
        loaded,
        tokens=token,
        host=host,
        port=port,
        rule=rule,
        reset_every=reset_every,
        limits=limits,
        states=states,
        certificate=certificate,
        key=key,
    ) as service:
        if not token:
            print(f"token: {service.tokens[0]}")
        print(f"camera: {service.page}\nHTTP:   {service.url}/docs (Ctrl-C ends it)", flush=True)
        service.wait()
