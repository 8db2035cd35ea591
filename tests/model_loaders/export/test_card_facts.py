"""Facts of a card: licences from cards, and scores as mteb writes them for leaderboards."""

from __future__ import annotations

from pathlib import Path

import yaml
from mteb import TaskResult

from model_loaders.export.facts.eval_files import write_eval_files
from model_loaders.export.facts.licences import licence_in, licence_of_base, licence_of_data
from model_loaders.export.facts.results import Score
from tests.tiny import ROOT


def test_licences(tmp_path: Path) -> None:
    assert licence_of_base("", directory=ROOT / "quickstart" / "base") == "mit"
    assert licence_of_base("mistralai/no-such-model") == "" and licence_of_base("nvidia/NV-Embed-v2") != ""
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: own-terms\n---\n# x\n")
    assert licence_of_data(str(tmp_path)) == "own-terms" == licence_of_data(str(tmp_path / "triplets.jsonl"))
    for text in ("# no block", "---\n: [\n---\n", "---\n- a list\n---\n"):
        (tmp_path / "README.md").write_text(text)
        assert licence_in(tmp_path / "README.md") == ""


def test_files_are_those_of_mteb(tmp_path: Path) -> None:
    row = {"main_score": 0.51234567, "cosine_spearman": 0.51234567, "hf_subset": "default", "languages": ["eng-Latn"]}
    result = TaskResult(
        dataset_revision="r", task_name="STSBenchmark", mteb_version="2.26.24", scores={"test": [row]}, evaluation_time=1.0
    )
    expected = yaml.safe_load(result._to_hf_benchmark_result(None).to_yaml())[0]
    about = result.task.metadata.dataset
    score = Score(
        task="STSBenchmark",
        type="STS",
        subset="default",
        split="test",
        metric="cosine_spearman",
        value=row["main_score"],
        dataset=about["path"],
        revision=about["revision"],
        mteb="2.26.24",
    )
    local = Score("Mine", "STS", "default", "test", "", 0.5, "local/Mine", "local-0123")
    write_eval_files([score, local], tmp_path)
    (path,) = (tmp_path / ".eval_results").iterdir()
    (entry,) = yaml.safe_load(path.read_text())
    expected.pop("date", None)
    assert path.name == "STSBenchmark.yaml" and entry == expected
