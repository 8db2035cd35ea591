"""Score one folder with a stub encoder."""

from __future__ import annotations

from evaluation.evaluate import evaluate
from evaluation.tasks.find import find_tasks
from tests.evaluation.conftest import BagOfWords


def score(data_dir, name, out):
    result = evaluate(BagOfWords(), find_tasks([name], data_dir), out, name="bow", version="1", prompts="none")
    assert not result.failures, result.failures
    return result.score(name)


def failure(data_dir, name, out) -> str:
    result = evaluate(BagOfWords(), find_tasks([name], data_dir), out, name="bow", version="1", prompts="none")
    assert list(result.failures) == [name]
    assert "traceback" not in result.failures[name]
    return result.failures[name]
