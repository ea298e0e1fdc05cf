# SPDX-License-Identifier: Apache-2.0
"""Turn the weights of a training run into the file that the package ships.

    python tools/embed_weights.py runs/train/average.safetensors --log runs/train/log.jsonl --version 1

Keeps the model without its training-only flow head, packs it to int8 by row (`--bf16`: to bfloat16), and writes what
the run was into the file: frames seen, seconds, and the last look at held-out takes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from longtake.checkpoints import pack, read_any, unpack, write_safetensors
from longtake.registry import SMALL

OUT = Path(__file__).resolve().parents[1] / "src" / "longtake" / "weights" / "longtake-small.safetensors"


def main() -> None:
    """Read, pack, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--log", type=Path, required=True, help="log.jsonl of the run")
    parser.add_argument("--version", required=True, help="version of the weights, named in every result")
    parser.add_argument("--bf16", action="store_true", help="do not pack to int8")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    found = read_any(options.weights, family="cut3r")
    config = {**found.config, "image_size": SMALL.image_size}  # how people's pictures are resized, not the weights
    records = [json.loads(line) for line in options.log.read_text(encoding="utf-8").splitlines()]
    last = {
        f"{record['take']} frames, {record['rule']}": {k: v for k, v in record.items() if k not in ("event", "rule")}
        for record in records
        if record["event"] == "held-out"
    }
    packed = pack(found.tensors, int8=not options.bf16)
    write_safetensors(
        options.out,
        packed,
        config,
        "cut3r",
        weights_version=options.version,
        training={"frames": records[-1]["frames"], "seconds": records[-1]["seconds"], "held_out": last},
    )
    restored = unpack(packed)
    change = max(
        float((restored[name] - tensor).abs().max() / tensor.abs().max()) for name, tensor in found.tensors.items()
    )
    size = f"{options.out.stat().st_size / 1e6:.1f} MB"
    print(f"{options.out.name}: {size}, largest change {100 * change:.2f} % of a tensor's maximum")


if __name__ == "__main__":
    main()
