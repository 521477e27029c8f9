"""Processes of one training: those that torchrun or SLURM restarted, and their end."""

import atexit
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


def destroy_process_group_at_exit() -> None:
    """Disconnect the processes before the interpreter ends.

    Lightning does so for NCCL only. A gloo thread that still runs then may abort its process, whose work is done, with
    "terminate called without an active exception".
    """
    atexit.unregister(_destroy_process_group)  # a process may make several Trainers
    atexit.register(_destroy_process_group)


def _destroy_process_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
