"""Data-parallel training on one machine: processes that each take a share of every batch.

On CPUs several processes of few threads train more crops per second than one of many threads.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Team:
    """Processes that hold the same weights; this one is number ``rank`` of ``size``."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process validates, averages the weights and writes the files."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """How many of a batch's samples each process draws; ValueError if they differ."""
        if batch % self.size:
            raise ValueError(f"a batch of {batch} cannot be shared among {self.size} processes")
        return batch // self.size

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(together)
        parts = torch.split(together / self.size, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


ALONE = Team()


def run_team(size: int, work: Callable[[Team], None]) -> None:
    """Call ``work`` in ``size`` processes, this one and forks of it; RuntimeError if one fails.

    Each gets its part of the machine's cores. They talk over the loopback interface alone.
    """
    if size == 1:
        work(ALONE)
        return
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        fork = get_context("fork")  # what is loaded is shared, not loaded again
        others = [
            fork.Process(target=_join, args=(Team(rank, size), meeting, work))
            for rank in range(1, size)
        ]
        for process in others:
            process.start()
        _join(Team(0, size), meeting, work)
        for process in others:
            process.join()
    if any(process.exitcode for process in others):
        raise RuntimeError("a process of the team failed")


def _join(team: Team, meeting: Path, work: Callable[[Team], None]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // team.size))
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=team.rank, world_size=team.size
    )
    try:
        work(team)
    finally:
        dist.destroy_process_group()
        torch.set_num_threads(threads)
