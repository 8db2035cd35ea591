"""Starts training commands as processes of their own, quickly: a parent that has imported everything forks them.

What runs is the command's own ``main``, in a process with its own session, environment and log, that can be killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120.0  # longest that a process may take


class Warm:
    """The parent, as a context manager.

    Args:
        own_mounts: give it and its children mounts of their own, so that it may mount a small disk.
    """

    def __init__(self, *, own_mounts: bool = False) -> None:
        self.prefix = ["unshare", "--map-root-user", "--mount"] if own_mounts else []

    def __enter__(self) -> Warm:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.server = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "tests.contracts.warm"], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.running: set[int] = set()
        return self

    def __exit__(self, *_: Any) -> None:
        for pid in list(self.running):
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)
        self.server.communicate()

    def ask(self, **question: Any) -> Any:
        self.server.stdin.write(json.dumps(question) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def start(self, argv: list[str], log: Path, **settings: Any) -> int:
        """Start a command and return its process id; ``design``, ``env`` and ``file_limit`` (bytes) may be given."""
        pid = self.ask(argv=argv, log=str(log), **settings)
        self.running.add(pid)
        return pid

    def start_two(self, argv: list[str], log: Path, *, file_limits: tuple[int, int] = (0, 0), **settings: Any) -> list[int]:
        """Start a command on two processes that find each other, as a launcher would; 0 is no limit."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                  "ACCELERATE_USE_CPU": "true"}  # fmt: skip
        pids = []
        for rank, limit in enumerate(file_limits):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            pids.append(self.start(argv, log.with_suffix(f".{rank}"), env=common | own, file_limit=limit, **settings))
        return pids

    def shell(self, command: str) -> str:
        """Run a shell command where the children run, and return what it says."""
        return self.ask(shell=command)

    def wait(self, pid: int) -> int:
        """Return a process's exit status, below 0 for a signal."""
        code = self.ask(wait=pid)
        assert code is not None, f"still running after {SECONDS} seconds"
        self.running.discard(pid)
        return code


def serve() -> None:
    """Answer questions; in a child, run the command instead."""
    import trainers.run.train_run  # noqa: F401
    from trainers.run import build

    build.fit_memory = lambda *_: "not planned"  # it takes longer than a tiny run
    for line in sys.stdin:
        question = json.loads(line)
        answer: Any
        if "shell" in question:
            answer = subprocess.run(question["shell"], shell=True, check=True, capture_output=True, text=True).stdout
        elif "wait" in question:
            answer = wait_for(question["wait"])
        else:
            answer = os.fork()
            if answer == 0:
                become(question)
        print(json.dumps(answer), flush=True)


def wait_for(pid: int) -> int | None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def become(question: dict[str, Any]) -> None:
    """Run a command in this process, and end it as the interpreter would."""
    import resource

    os.setsid()
    log = os.open(question["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for stream, descriptor in ((log, 1), (log, 2), (os.open(os.devnull, os.O_RDONLY), 0)):
        os.dup2(stream, descriptor)
    os.environ.update(question.get("env") or {})
    if limit := question.get("file_limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    from trainers.train import main

    sys.exit(main(question["argv"], design=question["design"]))


if __name__ == "__main__":
    serve()
