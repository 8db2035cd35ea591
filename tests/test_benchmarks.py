"""The benchmarks run, and refuse to compare what cannot be compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import ROOT

pytestmark = pytest.mark.slow


def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def test_memory_is_compared_between_full_chunks_only() -> None:
    refused = run("batch_memory.py", "--batches", "16", "4", "--chunk_tokens", "512")
    assert refused.returncode == 1
    assert "4 triplets are one chunk that is not full" in refused.stderr and "--batches of at least" in refused.stderr
    done = run("batch_memory.py", "--batches", "16", "4", "--chunk_tokens", "48")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "x the memory for 4 x the batch" in done.stdout.splitlines()[-1]


def test_the_plan_of_an_epoch() -> None:
    done = run("batch_plan.py", "--rows", "1000", "--batch_size", "10")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [
        ["homogeneous", "1,000"], ["blended", "1,000"], ["0.7", "1,000"]]  # fmt: skip


def test_the_gpu_benchmark_runs_on_a_tiny_shape() -> None:
    sizes = ["--latents", "8", "--heads", "2", "--head_dim", "8"]
    words = ["--shape", "tiny", "--device", "cpu", "--triplets", "3", "--tokens", "8", "--steps", "1", "--peers", *sizes]
    done = run("gpu.py", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if line and line[0].startswith("model")] == [f"model{k}" for k in range(1, 6)]
    assert done.stdout.count("with the published head") == 3 and done.stdout.count("sentence-transformers") == 1


@pytest.mark.parametrize(("design", "others"), [("model1", ["published", "sentence-transformers"]), ("model3", ["published"])])
def test_a_step_is_compared_with_equal_gradients(design: str, others: list[str], tmp_path: Path) -> None:
    rows = [
        {"query": f"what is {k}", "positive": f"{k} is a number", "negative": f"{k} times {k} is more than that"}
        for k in range(12)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run(
        "training_step.py", "--triplets", str(file), "--batch", "8", "--pairs", "1", "--design", design, "--latents", "8"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split()[2] for line in done.stdout.splitlines()[-len(others) :]] == others
    assert done.stdout.count("gradient differs by") == 2 + len(others)


def test_encoding_is_compared_on_equal_vectors(tmp_path: Path) -> None:
    rows = [{"query": f"what is {k}", "positive": f"{k} is a number " * (1 + k % 5), "negative": "no"} for k in range(20)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run(
        "encoding.py", "--corpus", str(tmp_path), "--scifact", str(tmp_path / "none"), "--texts", "40", "0", "--pairs", "1"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("texts a processor second; ours reaches") == 2  # design 1 and its mean-pooling equal
    assert done.stdout.count("sentence-transformers, LoRA") == 8 and done.stdout.count("  published ") == 2
    assert "MiB for design 5" in done.stdout


def test_many_models_are_compared() -> None:
    done = run("many_models.py", "--models", "4", "--benchmark", "NanoBEIR", "--missing", "0.1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("4 models x ") and "s of processors" in done.stdout


def test_conversion_in_bounded_memory() -> None:
    done = run("conversion.py", "--rows", "300")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["classes", "labels", "nli", "filter"]
