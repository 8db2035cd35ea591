"""Memory that a run may still use: of its GPU, or of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import torch

CGROUPS = (  # of the container or the job: the limit, and what is in use of it
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that this process may still use on a device, None where that is not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type != "cpu":
        return None
    left = [*free_of_machine(), *free_of_cgroups()]
    if not left:
        return None
    return min(left) // int(os.environ.get("LOCAL_WORLD_SIZE") or 1)  # this machine's processes share it


def free_of_machine() -> list[int]:
    """Return the bytes that Linux can give without swapping; empty on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):
        return []


def free_of_cgroups() -> list[int]:
    """Return the bytes that are left of each limit of the container or job; file caches count as free."""
    left = []
    for limit_file, usage_file, stat_file in CGROUPS:
        try:
            limit, usage = int(Path(limit_file).read_text()), int(Path(usage_file).read_text())
            lines = Path(stat_file).read_text().splitlines()
        except (OSError, ValueError):  # no such file, or "max"
            continue
        caches = sum(int(line.split()[1]) for line in lines if line.split()[0] in ("inactive_file", "active_file"))
        left.append(max(0, limit - usage + caches))
    return left
