"""The launcher of a cell's training: `accelerate launch`, in an environment without traces of an outer launcher.

Started as a script it is `accelerate launch` itself, which ends when the process that started it does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own folder is on sys.path, the root is not

from common.errors import UserError
from common.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[1]
ONE_PROCESS = ROOT / "configs" / "accelerate" / "one_process.yaml"
# What launchers leave in the environment of the processes that they start, by beginnings of names.
OF_LAUNCHERS = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "NODE_RANK",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_",
    "CROSS_",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_",
    "ACCELERATE_",
    "FSDP_",
    "PARALLELISM_CONFIG_",
    "DEEPSPEED_",
    "MEGATRON_LM_",
    "OMPI_",
    "PMI_",
    "PMIX_",
    "MV2_",
    "MPI_",
    "KMP_",
    "FORK_LAUNCHED",
)


def cores() -> int:
    """Return the number of cores that this process may use: a scheduler or `taskset` may give fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def clean_environment(
    environment: Mapping[str, str], *, threads: int | None = None, devices: str | None = None
) -> dict[str, str]:
    """Return the environment of a cell: this one, without what an outer launcher left in it.

    Args:
        environment: of this process.
        threads: CPU threads of each process; None for what is there.
        devices: ``CUDA_VISIBLE_DEVICES``; None for what is there.
    """
    clean = {name: value for name, value in environment.items() if not name.startswith(OF_LAUNCHERS)}
    if threads is not None:
        clean |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if devices is not None:
        clean["CUDA_VISIBLE_DEVICES"] = devices
    return clean


def read_accelerate(path: str | None) -> dict[str, Any]:
    """Read an accelerate file.

    Raises:
        UserError: it is no such file, or wants several machines, which are not this process's to start.
    """
    file = Path(path) if path is not None else ONE_PROCESS
    content = read_yaml(file, "accelerate_config:")
    if not isinstance(content, dict) or "distributed_type" not in content:
        raise UserError(f"accelerate_config: {file} is no file of `accelerate launch`; see configs/accelerate/")
    if int(content.get("num_machines") or 1) > 1:
        raise UserError(
            f"accelerate_config: {file} wants {content['num_machines']} machines, and a cell is started on one: give a file "
            "for one machine, and run cells on several machines with --cell"
        )
    return content


def launcher_arguments(accelerate: str | None, script: str, arguments: list[str]) -> list[str]:
    """Return the words that follow ``accelerate launch``.

    Args:
        accelerate: the launcher's file; None for one process.
        script: Python file.
        arguments: of the script.
    """
    # Several cells may run on one machine: each asks for a free port.
    return ["--config_file", accelerate or str(ONE_PROCESS), "--main_process_port", "0", script, *arguments]


def end_with_parent(parent: int, end: Callable[[], None]) -> None:
    """Watch for the end of the process that started this one, however it ended, and call ``end`` then."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        end()

    threading.Thread(target=watch, daemon=True).start()


def leave() -> None:
    """End this process at once."""
    os._exit(1)


def main() -> None:
    """Be ``accelerate launch``, with the number of the process that started this one as first argument."""
    end_with_parent(int(sys.argv.pop(1)), leave)
    # A stop comes to the whole group: the trainer saves and leaves, and this process waits for it. Launchers of several
    # processes have a handler of their own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    from accelerate.commands.launch import launch_command, launch_command_parser  # slow: the parent is watched first

    launch_command(launch_command_parser().parse_args())


if __name__ == "__main__":
    main()
