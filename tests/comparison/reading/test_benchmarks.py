"""`--benchmark`: the tasks of a benchmark of mteb by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparison.__main__ import main
from comparison.errors import ComparisonError
from comparison.reading.benchmarks import tasks_of_benchmark
from tests.comparison.conftest import Write


def test_a_benchmark_by_its_names() -> None:
    notes: list[str] = []
    for name in ("MTEB(eng, v2)", "MTEB(eng)"):
        assert tasks_of_benchmark(name, {"ArguAna", "NQ", "STS12"}, notes) == ["ArguAna", "STS12"], "NQ is in v1 alone"
    assert notes[0].startswith("2 of 41 tasks of MTEB(eng, v2) are compared; nobody has AmazonCounterfactualClassification")


def test_refusals() -> None:
    with pytest.raises(ComparisonError, match=r"mteb has no 'MTEB\(eng, v3\)' \(did you mean 'MTEB\(eng, v"):
        tasks_of_benchmark("MTEB(eng, v3)", {"NQ"}, [])
    with pytest.raises(ComparisonError, match="no result has a task of BRIGHT"):
        tasks_of_benchmark("BRIGHT", {"NQ"}, [])


def test_the_command(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write({"o/a": {"ArguAna": 0.4, "NQ": 0.1}, "o/b": {"ArguAna": 0.5, "NQ": 0.2}})
    assert main([str(root), "--benchmark", "MTEB(eng, v2)", "--output_dir", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "## Retrieval: 1 task" in printed and "1 of 41 tasks of MTEB(eng, v2) are compared" in " ".join(printed.split())
    assert "--benchmark 'MTEB(eng, v2)'" in (tmp_path / "out" / "report.html").read_text().replace("&#39;", "'")
