"""Time and memory of a comparison by the number of models: made-up results in mteb's layout, compared by the command.

    python benchmarks/many_models.py                         # 120 models x the 131 tasks of MTEB(Multilingual, v2), all pairs
    python benchmarks/many_models.py --models 10 30 --cpus 2

Each model has an ability, one for each kind of tasks, one for each family of tasks and what is left; so the differences of
tasks of one family are correlated, as those of public models are. The command runs in a process of its own. Printed are the
seconds by the clock and of the processors, the peak of the resident memory, and the size of what was written.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from comparison.reading.benchmarks import tasks_of_benchmark  # noqa: E402
from comparison.reading.families import Families, read_families  # noqa: E402

METRICS = {"Retrieval": "ndcg_at_10", "Clustering": "v_measure", "STS": "cosine_spearman", "PairClassification": "max_ap"}
BESIDE = 30  # other metrics in a file
MEAN, OF_MODELS, OF_KINDS, OF_FAMILIES, OF_TASKS = 0.60, 0.03, 0.015, 0.02, 0.02  # standard deviations, in score units


class EveryTask(frozenset[str]):
    """A set that has every task."""

    def __contains__(self, task: object) -> bool:
        return True


def write_results(folder: Path, models: int, benchmark: str, missing: float, seed: int = 0) -> int:
    """Write the results of made-up models, a file for each model and task; returns the number of tasks.

    Args:
        folder: gets ``<organisation>__<model>/<revision>/<Task>.json``.
        models: how many.
        benchmark: mteb's name of it.
        missing: share of results that are left out at random.
        seed: of the scores.
    """
    generator = np.random.default_rng(seed)
    tasks = tasks_of_benchmark(benchmark, EveryTask(), [])
    scores = made_up_scores(generator, models, tasks, read_families())
    for model, of_model in enumerate(scores):
        revision = folder / f"made__up-{model:03d}" / "1"
        revision.mkdir(parents=True)
        for task, score in zip(tasks, of_model, strict=True):
            if generator.random() >= missing:
                content = result(task, float(score), generator)
                (revision / f"{task}.json").write_text(json.dumps(content))
    return len(tasks)


def made_up_scores(generator: np.random.Generator, models: int, tasks: list[str], families: Families) -> np.ndarray:
    """Return scores ``(models, tasks)``, rounded as mteb's."""
    scores = np.zeros((models, len(tasks)))
    scores += MEAN + 0.1 * generator.normal(size=len(tasks))  # how hard a task is
    scores += OF_MODELS * generator.normal(size=(models, 1))
    kinds: dict[str, list[int]] = {}
    for column, task in enumerate(tasks):
        kinds.setdefault(families.category_of(task) or "Other", []).append(column)
    for columns in kinds.values():
        scores[:, columns] += OF_KINDS * generator.normal(size=(models, 1))
    for family in families.group(tasks):
        columns = [tasks.index(task) for task in family]
        scores[:, columns] += OF_FAMILIES * generator.normal(size=(models, 1))
    scores += OF_TASKS * generator.normal(size=scores.shape)
    return np.clip(scores, 0.0, 1.0).round(5)


def result(task: str, score: float, generator: np.random.Generator) -> dict[str, object]:
    """Return the content of one result file."""
    row: dict[str, object] = {"hf_subset": "default", "languages": ["eng-Latn"], "main_score": score}
    category = read_families().category_of(task) or ""
    row[METRICS.get(category, "accuracy")] = score
    for number, value in enumerate(generator.random(BESIDE)):
        row[f"metric_{number}"] = float(value)
    return {
        "task_name": task,
        "mteb_version": "2.26.24",
        "dataset_revision": "1",
        "scores": {"test": [row]},
        "evaluation_time": 1.0,
        "kg_co2_emissions": None,
    }


def measure(folder: Path, words: list[str], cpus: int) -> str:
    """Compare the results of a folder by the command; returns a line with time, memory and size.

    Raises:
        SystemExit: the command failed.
    """
    output = folder / "comparison"
    command = [sys.executable, "-m", "comparison", str(folder / "results"), "--output_dir", str(output), *words]
    environment = os.environ | {"OMP_NUM_THREADS": str(cpus), "OPENBLAS_NUM_THREADS": str(cpus), "PYTHONPATH": str(ROOT)}
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr or done.stdout)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = 0
    for file in output.rglob("*"):
        size += file.stat().st_size
    peak = after.ru_maxrss / 2**20
    return f"{seconds:.0f} s, {processor:.0f} s of processors, {peak:.2f} GiB, {size / 2**20:.0f} MiB written"


def main() -> None:
    """Print a line for each number of models."""
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--models", type=int, nargs="+", default=[120], help="default: %(default)s")
    command.add_argument("--benchmark", default="MTEB(Multilingual, v2)", help="default: %(default)s")
    command.add_argument("--missing", type=float, default=0.0, help="share of results left out (default: %(default)s)")
    command.add_argument("--baseline", metavar="NAME", help="compare with one model, such as up-000, instead of all pairs")
    command.add_argument("--cpus", type=int, default=2, help="threads of matrix products (default: %(default)s)")
    args = command.parse_args()
    words = ["--all_pairs"]
    if args.baseline:
        words = ["--baseline", args.baseline]
    for models in args.models:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tasks = write_results(folder / "results", models, args.benchmark, args.missing)
            print(f"{models} models x {tasks} tasks: {measure(folder, words, args.cpus)}", flush=True)


if __name__ == "__main__":
    main()
