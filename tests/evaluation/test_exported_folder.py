"""Mteb itself scores an exported folder as our evaluation scores the adapter."""

from __future__ import annotations

from pathlib import Path

import mteb
import pytest
from sentence_transformers import SentenceTransformer

from evaluation.evaluate import evaluate
from evaluation.tasks.find import find_tasks
from model_loaders import load
from model_loaders.export.__main__ import main
from model_loaders.saving import save
from model_loaders.text.recipe import Recipe
from tests.tiny import new_model

TASKS = ["TinySTS", "TinyPair", "TinyClassification", "TinyClustering", "TinyReranking", "TinyRetrieval"]


@pytest.mark.slow
@pytest.mark.parametrize("design", ["bidirectional_mean", "model3"])
def test_mteb_gives_the_same_scores(design: str, base: Path, data_dir: Path, tmp_path: Path) -> None:
    recipe = Recipe(query_prompt="word1 word2 ", document_prompt="word3 ", max_length=48)
    save(new_model(design, base, recipe=recipe), tmp_path / "adapter")
    flags = ["--format", "sentence-transformers", "--device", "cpu"]
    assert main([str(tmp_path / "adapter"), str(tmp_path / "out"), *flags]) == 0
    specs = find_tasks(TASKS, data_dir)
    ours = evaluate(load(tmp_path / "adapter", device="cpu"), specs, tmp_path / "results")
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=True)  # mteb wraps it itself
    for spec in specs:
        task = spec.task()
        spec.load(task)
        result = mteb.evaluate(theirs, task, cache=None, co2_tracker=False, show_progress_bar=False)
        assert abs(result.task_results[0].get_score() - ours.score(spec.name)) <= 1e-4, spec.name
