"""Tasks of mteb's benchmarks by name, from `benchmarks_mteb.yaml`, which `evaluation/tasks/benchmarks.py` makes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from common.yaml_files import read_yaml
from comparison.errors import ComparisonError, nearest

FILE = Path(__file__).resolve().parents[1] / "benchmarks_mteb.yaml"


def tasks_of_benchmark(name: str, scored: Collection[str], notes: list[str]) -> list[str]:
    """Return the tasks of a benchmark that any result has.

    Args:
        name: mteb's name of it, or another name that mteb knows.
        scored: tasks that any result has.
        notes: gets a sentence on how many of its tasks are compared, and which nobody has.

    Raises:
        ComparisonError: mteb has no such benchmark, or nobody has any of its tasks.
    """
    content = read_yaml(FILE, "--benchmark")
    benchmarks: dict[str, list[str]] = content["benchmarks"]
    known = content["aliases"].get(name, name)
    if known not in benchmarks:
        raise ComparisonError(f"--benchmark: mteb has no {name!r}{nearest(name, [*benchmarks, *content['aliases']])}")
    tasks = [task for task in benchmarks[known] if task in scored]
    absent = [task for task in benchmarks[known] if task not in scored]
    if not tasks:
        raise ComparisonError(f"--benchmark: no result has a task of {known}")
    sentence = f"{len(tasks)} of {len(benchmarks[known])} tasks of {known} are compared"
    if absent:
        sentence += f"; nobody has {', '.join(absent)}"
    notes.append(f"{sentence}; of a task with several languages the subset that is compared is named where there are several")
    return tasks
