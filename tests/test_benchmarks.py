"""The benchmarks run, and refuse to compare what cannot be compared."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

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
