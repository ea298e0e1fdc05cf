# SPDX-License-Identifier: Apache-2.0
"""The processes that train together, one for each device of a host, as torchrun starts them."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor


class Crew:
    """This process among those that train together; alone without torchrun."""

    def __init__(self) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if self.size > 1:
            _see_one_device(int(os.environ.get("LOCAL_RANK", "0")))
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.size > 1:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    def mean_(self, tensor: Tensor) -> None:
        """Average over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
            tensor.div_(self.size)

    def tell(self, numbers: list[float]) -> list[float]:
        """What rank 0 says."""
        if self.size == 1:
            return numbers
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return tensor.tolist()

    def close(self) -> None:
        """Leave, all at once: what one of them still does at the end needs the others to be there."""
        if self.size > 1:
            dist.barrier()
            dist.destroy_process_group()


def _see_one_device(local: int) -> None:
    """Leave this process the one device that is its own, before anything asks for devices.

    So it is device 0 to all of them. Compiled code has the device's number in it: under numbers of its own each
    process would compile anew what another one has left in the cache.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = seen.split(",") if seen else []
    if len(names) != 1:  # one: whoever started us has seen to it
        os.environ["CUDA_VISIBLE_DEVICES"] = names[local] if local < len(names) else str(local)
