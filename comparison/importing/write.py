"""Write imported results in mteb's layout, with the scores item by item beside them as our own runs keep them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.files import write_json, write_whole
from comparison.errors import ComparisonError
from comparison.importing.measures import score_query
from comparison.importing.trec import Judgements, Run
from comparison.stats.resampling import of_pairs

BESIDE = ("ndcg_at_10", "recall_at_100")  # measures that are kept beside the main one
Row = dict[str, object]


@dataclass(frozen=True)
class Imported:
    """A task's result of one system.

    Attributes:
        main: the measure that is the main score.
        scores: by measure; the mean over queries, or the statistic of pairs.
        rows: item by item.
        lacking: queries with judgements that the run has not; they count as 0.
    """

    main: str
    scores: dict[str, float]
    rows: list[Row]
    lacking: int = 0


def score_run(run: Run, judgements: Judgements, main: str) -> Imported:
    """Score a run, a query each; a query with a relevant document that the run lacks counts as 0.

    Raises:
        ComparisonError: the run has none of the queries.
    """
    judged = [query for query, grades in judgements.items() if any(grade > 0 for grade in grades.values())]
    lacking = sum(query not in run for query in judged)
    if lacking == len(judged):
        raise ComparisonError(f"none of the {len(judged)} queries with judgements is in it; are these the right judgements?")
    measures = list(dict.fromkeys([main, *BESIDE]))
    rows: list[Row] = []
    for query in judged:
        row: Row = {"id": query}
        for name in measures:
            row[name] = score_query(name, run.get(query, {}), judgements[query])
        rows.append(row)
    scores = {name: float(np.mean([row[name] for row in rows])) for name in measures}
    return Imported(main, scores, rows, lacking)


def score_pairs(scores: Sequence[float], gold: Sequence[float]) -> Imported:
    """Score pairs: average precision where all gold is 0 or 1, else Spearman's correlation.

    Raises:
        ComparisonError: there are not as many gold scores as pairs.
    """
    if len(scores) != len(gold):
        raise ComparisonError(f"it has {len(scores)} pairs, and --gold {len(gold)} scores")
    values, wanted = np.asarray(scores, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    main, kind = "cosine_spearman", "correlation"
    if set(np.unique(wanted)) <= {0.0, 1.0}:
        main, kind = "cosine_ap", "precision"
    score = of_pairs(kind, values, wanted)
    if not np.isfinite(score):
        raise ComparisonError("all its scores, or all of --gold, are the same")
    rows: list[Row] = []
    for number, (similarity, label) in enumerate(zip(scores, gold, strict=True)):
        rows.append({"id": f"{number:07d}", "score": similarity, "gold": label})
    return Imported(main, {main: score}, rows)


def write_result(folder: Path, task: str, imported: Imported, cell: tuple[str, str]) -> Path:
    """Write a result and its items; returns the result file.

    Args:
        folder: ``<organisation>__<model>/<revision>``.
        task: its name.
        imported: the scores.
        cell: split and subset.
    """
    split, subset = cell
    items = folder / "items" / f"{task}.jsonl.gz"
    items.parent.mkdir(parents=True, exist_ok=True)
    write_whole(items, _packed(imported.rows, {"subset": subset, "split": split}))
    row = {"hf_subset": subset, "main_score": imported.scores[imported.main], **imported.scores}
    content = {"task_name": task, "dataset_revision": None, "mteb_version": None, "scores": {split: [row]}}
    path = folder / f"{task}.json"
    write_json(content, path)
    return path


def _packed(rows: Sequence[Mapping[str, object]], cell: Mapping[str, str]) -> bytes:
    """Return rows as packed JSON lines; the same rows give the same bytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream:
        for row in rows:
            stream.write((json.dumps({**cell, **row}) + "\n").encode())
    return packed.getvalue()
