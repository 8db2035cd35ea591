"""Processes that disagree train nothing; where one is killed or frozen, the others end and name it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.heartbeat import Heartbeat
from tests.contracts.warm import Warm
from tests.trainers.commands import arguments


def start_ranks(warm: Warm, flags: list[list[str]], log: Path) -> list[int]:
    """Start each command as one process of a run."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    pids = []
    for rank, words in enumerate(flags):
        environment = {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(len(flags)), "ACCELERATE_USE_CPU": "true",
            "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(len(flags)),
        }  # fmt: skip
        pids.append(warm.start(words, log.with_suffix(f".{rank}"), env=environment, design="model1"))
    return pids


def long_run(base: Path, folder: Path) -> list[str]:
    return [*arguments(base, folder), "--max_steps=100000", "--ddp_timeout", "8", "--logging_steps=1"]


def wait_for_steps(folder: Path) -> None:
    end = time.monotonic() + 60
    while not (folder / "out" / "metrics.jsonl").exists():
        assert time.monotonic() < end, (folder / "log.0").read_text()
        time.sleep(0.01)
    time.sleep(3)  # until the step has been told


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_process_is_named(base: Path, tmp_path: Path, warm: Warm, lost: int, signal_number: signal.Signals) -> None:
    flags = long_run(base, tmp_path)
    pids = start_ranks(warm, [flags, flags], tmp_path / "log")
    wait_for_steps(tmp_path)
    began = time.monotonic()
    os.kill(pids[lost], signal_number)
    try:
        assert warm.wait(pids[1 - lost]) == 1
        assert time.monotonic() - began < 25
    finally:
        os.kill(pids[lost], signal.SIGKILL)
        warm.wait(pids[lost])
    text = (tmp_path / f"log.{1 - lost}").read_text()
    assert f"error: process {lost} (its last sign: step " in text
    assert "Traceback" not in text and "--resume_from_checkpoint" in text


@pytest.mark.parametrize("words", [["--learning_rate", "0.02"], ["--seed", "7"], ["--max_negatives", "0"]])
def test_other_flags_are_named(base: Path, tmp_path: Path, warm: Warm, words: list[str]) -> None:
    flags = arguments(base, tmp_path)
    pids = start_ranks(warm, [flags, [*flags, *words]], tmp_path / "log")
    assert [warm.wait(pid) for pid in pids] == [1, 1]
    text = (tmp_path / "log.0").read_text()
    assert words[0] in text and f"{words[1]} on process 1" in text and "Traceback" not in text
    assert not (tmp_path / "out").exists()


def test_other_data_and_bases_are_named(base: Path, make_base: Callable[..., Path], tmp_path: Path, warm: Warm) -> None:
    flags = arguments(base, tmp_path)
    other = tmp_path / "other.jsonl"
    other.write_text((tmp_path / "rows.jsonl").read_text().replace("word1", "word2"))
    same = tmp_path / "same.jsonl"
    same.write_text((tmp_path / "rows.jsonl").read_text())
    cases = [("--dataset_name", str(other), "training data"), ("--model_name_or_path", str(make_base(seed=3)), "base model")]
    for number, (flag, value, fact) in enumerate(cases):
        pids = start_ranks(warm, [flags, [*flags, flag, value]], tmp_path / f"log{number}")
        assert [warm.wait(pid) for pid in pids] == [1, 1]
        assert fact in (tmp_path / f"log{number}.0").read_text()
    pids = start_ranks(warm, [flags, [*flags, "--dataset_name", str(same)]], tmp_path / "log")
    assert [warm.wait(pid) for pid in pids] == [0, 0], (tmp_path / "log.0").read_text()


class Table:
    """A store in memory."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        self.texts[key] = value

    def get(self, key: str) -> bytes:
        return self.texts[key].encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self.texts for key in keys)


def test_a_process_that_leaves_is_not_lost() -> None:
    table = Table()
    first, second = (Heartbeat(lambda: table, rank, 2, patience=60, advice="go on") for rank in range(2))
    time.sleep(1.2)
    second.place = "step 3"
    time.sleep(1.2)
    second.leave()
    time.sleep(0.6)
    assert first.silent(0.1) == []
    assert first.lost_now() == [1]
    assert "process 1 (its last sign: step 3) is gone" in first.message([1])
    first.leave()
