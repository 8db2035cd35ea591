"""Two processes with a stub encoder, for tests: ``python pair.py CASE …`` prints what both found in each, as JSON lines.

They are forked from one parent that has imported torch, which takes a second instead of many.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from common.errors import UserError
from evaluation.encode import distributed as module
from evaluation.encode.distributed import Processes
from evaluation.encode.rank import ProcessLost, launched
from evaluation.encode.vector_store import Shard

TEXTS = ["w" * (1 + 7 * n % 40) for n in range(37)]


def vectors(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), text.count("a"), 1] for text in texts], dtype=np.float32)


def encode(texts, role, prompt, max_length, on_batch=None) -> Shard:
    """Do what the texts say."""
    said = " ".join(texts)
    mine = os.environ["RANK"] in said
    if "user" in said and mine:
        raise UserError("no room")
    if "oom" in said and mine:
        raise MemoryError("not enough")
    if "die" in said and mine:
        os.kill(os.getpid(), signal.SIGKILL)
    if "stop" in said and mine:
        raise KeyboardInterrupt
    made = vectors(texts)
    if "nan" in said and mine:
        made[0, 0] = np.nan
    if on_batch:
        on_batch(len(texts), 1)
    lengths = np.array([len(text) for text in texts], dtype=np.int32)
    return Shard(made, lengths, lengths > 20)


def ask(processes: Processes, texts: list[str]) -> str:
    try:
        shard = processes.encode(texts, "query", "p", 9)
        assert np.array_equal(shard.vectors, vectors(texts))
        assert shard.tokens.tolist() == [len(text) for text in texts]
        assert shard.cut.tolist() == [len(text) > 20 for text in texts]
        return "right"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def run(case: str) -> object:
    rank = launched()
    if case == "wait":
        module.MEETING = timedelta(seconds=6)  # less than the first process takes between two shards, enough to meet
    processes = Processes(rank, encode)
    if case.startswith("agree"):
        version = f"v{rank.rank}" if case == "agree version" else "v"
        trouble = "cannot load" if case == f"agree trouble {rank.rank}" else None
        processes.agree(version, trouble)
        return "agreed"
    if not rank.first:
        processes.serve()
        return "let go"
    try:
        if case == "calls":
            wrong = [["1 oom", "1 oom"], ["1 nan", "1 nan"], ["0 user", "0 user"], ["1 user", "1 user"], ["0 oom", "0 oom"]]
            return [ask(processes, texts) for texts in ([*TEXTS], ["one"], *wrong, [*TEXTS])]
        assert ask(processes, TEXTS) == "right"
        if case == "wait":
            time.sleep(7)
            assert ask(processes, TEXTS) == "right"
        if case == "scoring fails":
            raise ValueError("wrong score")
        return ask(processes, [f"{case}", f"{case}"])  # "1 die": the other dies, "0 die": this one, "0 stop", …
    finally:
        processes.close()


def start(case: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    children = []
    for rank in (0, 1):
        child = os.fork()
        if not child:
            os.environ["RANK"] = str(rank)
            try:
                found: object = run(case)
            except (ProcessLost, KeyboardInterrupt, UserError, ValueError) as error:
                found = f"{type(error).__name__}: {error}"
            except BaseException:
                found = traceback.format_exc()
            sys.stdout.write(json.dumps([case, rank, found]) + "\n")
            sys.stdout.flush()
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    import torch
    import torch.distributed  # before the forks

    torch.set_num_threads(1)
    for case in sys.argv[1:]:
        start(case)
