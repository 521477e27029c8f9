"""Processes that torchrun or SLURM restarted."""

import os

import torch
import torch.distributed as dist


def is_restarted() -> bool:
    """Whether torchrun (--max-restarts) or SLURM (--requeue) started this same command before."""
    return any(int(os.environ.get(name) or 0) > 0 for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def reinit_process_group(accelerator: str) -> None:
    """Connect processes that torchrun restarted.

    torchrun keeps its key-value store when it restarts them, with --standalone too (torch 2.13, gloo). A process that
    reads the address of a dead one from it fails or waits forever; a prefix for each restart hides those.
    """
    address, port, rank, world_size, restart = (
        os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    )
    store = dist.PrefixStore(f"restart_{restart}", dist.TCPStore(address, int(port)))  # type: ignore[attr-defined]
    backend = "nccl" if accelerator != "cpu" and torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=int(rank), world_size=int(world_size))
