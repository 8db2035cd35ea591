"""A folder of real data becomes the tasks and the training mix of a study."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from comparison.reading.families import read_families
from evaluation.tasks.find import find_tasks
from study.config import ROOT, read_study_config
from study.real_data.__main__ import main
from study.real_data.layout import CLUSTERINGS, WITHOUT
from tests.study.tiny_study import write_lines
from tests.tiny import DATA
from triplets.arguments import DataArguments


def test_tasks_and_the_training_mix(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_lines(
        data / "eval" / "NewsClassification" / "test.jsonl.gz", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    )
    write_lines(data / "eval" / "NewsClassification" / "train.jsonl.gz", [{"text": "c", "label": "x"}])
    for name in ("faq", WITHOUT[0]):
        write_lines(data / "train" / f"{name}.jsonl.gz", [{"query": "q", "positive": "p"}])
    for _ in range(2):  # again: nothing is in the way
        assert main([str(data), "--output_dir", str(out)]) == 0
    types = {spec.name: spec.type for spec in find_tasks([], out / "eval")}
    assert types == {"NewsClassification": "Classification", "NewsClustering": "Clustering"}
    (entry,) = DataArguments(dataset_config=str(out / "mix.yaml")).dataset_config or []
    assert entry["label"] == "faq" and Path(entry["name"]).is_file()
    assert main([str(tmp_path / "nothing"), "--output_dir", str(out)]) == 1


def test_the_study_of_real_data(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip("the evaluation data are not here")
    assert main([str(DATA), "--output_dir", str(tmp_path)]) == 0
    config = read_study_config(ROOT / "configs" / "studies" / "real_data.yaml", {})
    types: dict[str, list[str]] = {}
    for spec in find_tasks(config.tasks, tmp_path / "eval"):
        types.setdefault(spec.type, []).append(spec.name)
    assert set(types) == {"STS", "Retrieval", "Classification", "Clustering"}
    assert all(len(names) >= 5 for names in types.values())
    assert set(CLUSTERINGS) <= set(types["Clustering"])
    families = read_families(ROOT / str(config.comparison["families"]))
    assert not [name for names in types.values() for name in names if families.category_of(name) is None]
    assert len(yaml.safe_load((tmp_path / "mix.yaml").read_text())) >= 10
