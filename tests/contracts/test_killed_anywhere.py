"""Real processes, killed and stopped: the same command goes on to the weights of an undisturbed run, bit for bit.

The runs have gradient caching with LoRA's dropout, data loaded by worker processes, a trainable pooling, a schedule with
warm-up, several epochs and an evaluation at the end of each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.warm import Warm
from tests.tiny import triplets

STEPS = 24
# Large enough that writing it takes a while, small enough for fast steps.
POOLING_OF_TESTS = ["--pooling_latents", "6", "--pooling_heads", "2", "--pooling_head_dim", "4"]
POOLING = ["--pooling_latents", "1024", "--pooling_heads", "4", "--pooling_head_dim", "256"]


class Run:
    """One training run in a directory: the same command, as often as it takes."""

    def __init__(self, base: Path, folder: Path, *, steps: int = STEPS, pooling: list[str] = POOLING, **flags: Any) -> None:
        self.folder, self.output = folder, folder / "out"
        folder.mkdir()
        rows = [
            {"query": row["query"], "positive": row["positive"], "negative": row["negatives"]}
            for row in triplets(40, negatives=2)
        ]
        # Invalid rows first, which are skipped: preparing the data takes a moment.
        skipped = [{"query": f"word{number}", "positive": ""} for number in range(20000)]
        for name, content in (("rows", skipped + rows), ("eval", rows[:5])):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
        settings = {
            "model_name_or_path": base, "dataset_name": folder / "rows.jsonl", "output_dir": self.output,
            "cache_dir": folder / "cache", "use_cpu": "true", "disable_tqdm": "true", "resume_from_checkpoint": "true",
            "max_steps": steps, "per_device_train_batch_size": 4, "chunk_tokens": 48, "lora_dropout": 0.3,
            "learning_rate": 0.01, "lr_scheduler_type": "cosine", "warmup_steps": 3, "logging_steps": 1,
            "save_steps": 2, "save_total_limit": 2, "dataloader_num_workers": 2,
            "on_invalid_rows": "skip", "eval_dataset": folder / "eval.jsonl", "eval_strategy": "epoch",
        } | flags  # fmt: skip
        self.argv = [word for name, value in settings.items() for word in (f"--{name}", str(value))] + pooling
        self.log = folder / "log"

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics without what depends on the clock; the ends of runs are left out."""
        clock = ("time", "tokens_per_second")
        lines = [json.loads(line) for line in (self.output / "metrics.jsonl").read_text().splitlines()]
        return [
            {key: value for key, value in line.items() if key not in clock} for line in lines if "train_runtime" not in line
        ]

    def weights(self) -> bytes:
        """Return the finished adapter's weights."""
        assert (self.output / "train_result.json").is_file()
        return b"".join((self.output / name).read_bytes() for name in ("adapter_model.safetensors", "pooling.safetensors"))

    # What is waited for

    def trained(self, step: int) -> Callable[[], bool]:
        """Whether a step's figures have been written."""

        def reached() -> bool:
            try:
                text = (self.output / "metrics.jsonl").read_bytes()
            except FileNotFoundError:
                return False
            lines = text[: text.rfind(b"\n") + 1].splitlines()
            return bool(lines) and json.loads(lines[-1])["step"] >= step

        return reached

    def appears(self, folder: Path, pattern: str) -> Callable[[], bool]:
        """Whether there is a file or folder that was not there when this was called."""

        def found() -> set[tuple[str, int, int]]:
            there = set()
            for path in folder.glob(pattern):
                try:
                    about = path.stat()
                except FileNotFoundError:  # renamed meanwhile
                    continue
                there.add((str(path), about.st_ino, about.st_mtime_ns))
            return there

        before = found()
        return lambda: bool(found() - before)

    def writing(self, name: str) -> Callable[[], bool]:
        """Whether a checkpoint is being written, and has got as far as this file."""
        return self.appears(self.output, f".stage/checkpoint-*/{name}" if name else ".stage/checkpoint-*")


def wait_until(condition: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.001)  # two cores are shared with what is waited for


def kill_when(warm: Warm, run: Run, condition: Callable[[], bool]) -> None:
    """Start the run, and end it with SIGKILL as soon as the condition holds."""
    pid = warm.start(run.argv, run.log, design="model5")
    wait_until(condition, run.log)
    os.kill(pid, signal.SIGKILL)
    assert warm.wait(pid) == -signal.SIGKILL, run.log.read_text()[-2000:]


def finish(warm: Warm, run: Run) -> None:
    assert warm.wait(warm.start(run.argv, run.log, design="model5")) == 0, run.log.read_text()[-2000:]


def test_a_kill_in_the_middle_of_a_write(warm: Warm, base: Path, tmp_path: Path) -> None:
    flags = {"steps": 3, "save_steps": 1}
    undisturbed, run = Run(base, tmp_path / "a", **flags), Run(base, tmp_path / "b", **flags)
    finish(warm, undisturbed)
    second = run.appears(run.output, ".stage/checkpoint-2/optimizer.pt")
    kill_when(warm, run, second)
    assert (run.output / ".stage").exists()
    finish(warm, run)
    assert "going on from" in run.log.read_text()
    assert run.weights() == undisturbed.weights()
    assert run.metrics() == undisturbed.metrics()


def test_a_signal_to_all_processes_of_a_job(warm: Warm, base: Path, tmp_path: Path) -> None:
    """As a terminal or a cluster sends it: the workers that load data must not end before the checkpoint is written."""
    run = Run(base, tmp_path / "a", save_strategy="no")
    pid = warm.start(run.argv, run.log, design="model5")
    wait_until(run.trained(2), run.log)
    os.killpg(pid, signal.SIGTERM)
    assert warm.wait(pid) == 143, run.log.read_text()[-2000:]
    step = run.metrics()[-1]["step"]
    assert f"after step {step}, which is saved" in run.log.read_text()
    assert [path.name for path in run.output.glob("checkpoint-*")] == [f"checkpoint-{step}"]


def test_a_file_that_cannot_be_written(warm: Warm, base: Path, tmp_path: Path) -> None:
    run = Run(base, tmp_path / "a", steps=2, warmup_steps=1, dataloader_num_workers=0)
    assert warm.wait(warm.start(run.argv, run.log, design="model5", file_limit=1_000_000)) == 1
    told = run.log.read_text()
    assert told.count("error:") == 1 and "the checkpoint of step 2 could not be written" in told and "MB free" in told
    assert "Traceback" not in told
    assert not list(run.output.glob("checkpoint-*")) and not (run.output / ".stage").exists()
    finish(warm, run)
    assert run.weights()


@pytest.mark.slow
def test_a_full_disk(base: Path, tmp_path: Path) -> None:
    """A disk of 8 MB, on which the fourth checkpoint of 2.4 MB finds no room."""
    if subprocess.run(["unshare", "--map-root-user", "--mount", "true"], check=False).returncode != 0:
        pytest.skip("no mounts of one's own here")
    flags = {"steps": 5, "save_steps": 1, "save_total_limit": 9}
    undisturbed, run = Run(base, tmp_path / "a", **flags), Run(base, tmp_path / "b", **flags)
    run.output.mkdir()
    with Warm(own_mounts=True) as warm:
        finish(warm, undisturbed)
        warm.shell(f"mount -t tmpfs -o size=8m none {run.output}")
        assert warm.wait(warm.start(run.argv, run.log, design="model5")) == 1
        told = run.log.read_text()
        assert told.count("error:") == 1 and "the checkpoint of step 4 could not be written" in told and "Traceback" not in told
        there = warm.shell(f"ls -A {run.output}").split()
        assert sorted(there) == ["checkpoint-1", "checkpoint-2", "checkpoint-3", "metrics.jsonl", "train_config.json"]
        warm.shell(f"rm -r {run.output}/checkpoint-1 {run.output}/checkpoint-2")
        finish(warm, run)
        assert "going on from" in run.log.read_text().rpartition("checkpoint-3")[0]
        warm.shell(f"cp -r {run.output} {tmp_path / 'copy'}")
    run.output = tmp_path / "copy"
    assert run.weights() == undisturbed.weights() and run.metrics() == undisturbed.metrics()


@pytest.mark.slow
def test_twenty_kills(warm: Warm, base: Path, tmp_path: Path) -> None:
    undisturbed, run = Run(base, tmp_path / "a"), Run(base, tmp_path / "b")
    finish(warm, undisturbed)

    kill_when(warm, run, run.appears(run.folder / "cache" / "triplets", "*.unfinished"))
    assert not (run.output / "train_config.json").exists()
    kill_when(warm, run, run.trained(1))
    assert not list(run.output.glob("checkpoint-*"))
    kill_when(warm, run, run.writing(""))
    assert not list(run.output.glob("checkpoint-*"))
    kills, inside = 3, int((run.output / ".stage").exists())
    files = ["adapter_model.safetensors", "pooling.safetensors", "embedder.json", "optimizer.pt", "scheduler.pt",
             "rng_state.pth", "trainer_state.json", "checkpoint.json"]  # fmt: skip
    for step, name in zip(range(2, STEPS, 3), files, strict=True):
        kill_when(warm, run, run.trained(step))
        kill_when(warm, run, run.writing(name))
        inside += (run.output / ".stage").exists()
        kills += 2
    kill_when(warm, run, run.appears(run.output, ".partial"))  # the final adapter is being written
    assert not (run.output / "train_result.json").exists()
    kill_when(warm, run, run.appears(run.output, "embedder.json"))
    kills += 2
    finish(warm, run)
    print(f"{kills} kills, {inside} inside a checkpoint's write, 3 before the first checkpoint")
    assert kills >= 20 and inside >= 5
    assert run.weights() == undisturbed.weights()
    assert run.metrics() == undisturbed.metrics()

    finish(warm, run)
    assert "is finished" in run.log.read_text()
    assert run.weights() == undisturbed.weights()


def stopped_at(warm: Warm, run: Run, step: int, rank: int) -> int:
    """Send SIGTERM to one of two processes after a step; return the step of the checkpoint that both have saved."""
    pids = warm.start_two(run.argv, run.log, design="model5")
    wait_until(run.trained(step), run.log.with_suffix(".0"))
    os.kill(pids[rank], signal.SIGTERM)
    logs = run.log.with_suffix(".0").read_text() + run.log.with_suffix(".1").read_text()
    assert [warm.wait(pid) for pid in pids] == [143, 143], logs[-3000:]
    assert not (run.output / "train_result.json").exists() and not (run.output / "embedder.json").exists()
    newest = max(int(path.name.rpartition("-")[2]) for path in run.output.glob("checkpoint-*"))
    assert newest >= step
    assert f"checkpoint-{newest}" in run.log.with_suffix(".0").read_text()
    return newest


def finish_two(warm: Warm, run: Run) -> None:
    codes = [warm.wait(pid) for pid in warm.start_two(run.argv, run.log, design="model5")]
    assert codes == [0, 0], run.log.with_suffix(".0").read_text()[-2000:] + run.log.with_suffix(".1").read_text()[-2000:]


@pytest.mark.slow
def test_sigterm_to_one_of_two_processes(warm: Warm, base: Path, tmp_path: Path) -> None:
    # Five epochs of four steps, the last of which is ragged: 14 = 4 + 4 + 4 + 2 rows a process.
    flags = {"steps": 20, "max_train_samples": 28, "save_steps": 50, "pooling": POOLING_OF_TESTS}
    undisturbed, run = Run(base, tmp_path / "a", **flags), Run(base, tmp_path / "b", **flags)
    finish_two(warm, undisturbed)
    step = 0
    for rank in (1, 0, 1, 0):
        step = stopped_at(warm, run, step + 2, rank)
    finish_two(warm, run)
    print(f"four stops, the last after step {step}")
    assert run.weights() == undisturbed.weights()
    assert run.metrics() == undisturbed.metrics()

    # One process cannot go on where two were.
    (run.output / "train_result.json").unlink()
    assert warm.wait(warm.start(run.argv, run.log, design="model5")) == 1
    assert "2 processes" in run.log.read_text()


@pytest.mark.slow
def test_all_processes_end_when_one_cannot_write(warm: Warm, base: Path, tmp_path: Path) -> None:
    """The second process has no room for its random state: nobody waits for it, and one error is told."""
    run = Run(base, tmp_path / "a", steps=2, warmup_steps=1, max_train_samples=8, pooling=POOLING_OF_TESTS)
    pids = warm.start_two(run.argv, run.log, design="model5", file_limits=(0, 10_000))
    assert [warm.wait(pid) for pid in pids] == [1, 1]
    told = run.log.with_suffix(".0").read_text() + run.log.with_suffix(".1").read_text()
    assert told.count("error:") == 1 and "of step 2 could not be written" in told and ": process 1: " in told, told[-3000:]
    assert not list(run.output.glob("checkpoint-*")) and not (run.output / ".stage").exists()
