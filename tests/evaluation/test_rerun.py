from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.cli import main
from evaluation.evaluate import evaluate
from evaluation.tasks.find import find_tasks
from model_loaders import load, loading
from model_loaders.saving import save
from tests.evaluation.conftest import make_tasks, write
from tests.tiny import new_model


def call(*words: object) -> int:
    return main("", loader=load, paper_tasks=(), arguments=[*map(str, words), "--device", "cpu"])


@pytest.fixture(scope="module")
def scored(base, tmp_path_factory) -> Path:
    """A folder with an adapter, data, and the results of two tasks, made with prompts of their own."""
    root = tmp_path_factory.mktemp("rerun")
    save(new_model("model5", base), root / "adapter")
    make_tasks(root / "data")
    (root / "prompts.yaml").write_text("TinyRetrieval: {query: 'word1 word2 {text} word3', document: 'word4 '}\n")
    words = ["--adapter_path", root / "adapter", "--data_dir", root / "data", "--output_dir", root / "out"]
    words += ["--tasks", "TinyRetrieval", "TinyClassification", "--prompts", root / "prompts.yaml", "--max_length", 7]
    assert call(*words, "--dtype", "bfloat16") == 0
    return root


def record_of(root: Path, task: str) -> Path:
    (path,) = root.glob(f"out/results/*/*/recipes/{task}.json")
    return path


def test_data_that_were_moved_are_asked_for(scored, tmp_path, capsys):
    record = json.loads(record_of(scored, "TinyRetrieval").read_text())
    record["origin"]["folder"] = str(tmp_path / "gone/TinyRetrieval")
    path = tmp_path / "TinyRetrieval.json"
    path.write_text(json.dumps(record))
    with pytest.raises(SystemExit):
        call("--rerun", path)
    assert "gone/TinyRetrieval any more: --data_dir is the folder above it today" in capsys.readouterr().err
    assert call("--rerun", path, "--data_dir", scored / "data") == 0


@pytest.mark.parametrize("task", ["TinyRetrieval", "TinyClassification"])
def test_a_record_alone_makes_the_same_scores_again(scored, task, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call("--rerun", record_of(scored, task)) == 0
    out = capsys.readouterr().out
    assert "the same to 0.0001" in out and "+0.0e+00" in out and "changed" not in out
    assert not list(tmp_path.iterdir())  # nothing was written


def test_a_difference_is_said_and_is_the_exit_code(scored, tmp_path, capsys):
    record = json.loads(record_of(scored, "TinyRetrieval").read_text())
    record["scores"]["default"]["test"] += 2e-4
    record["libraries"]["mteb"] = "2.0.0"
    path = tmp_path / "TinyRetrieval.json"
    path.write_text(json.dumps(record))
    assert call("--rerun", path) == 1
    out = capsys.readouterr().out
    assert "NOT the same" in out and "-2.0e-04" in out and "mteb 2.0.0 -> " in out


def test_the_settings_are_the_records(scored, tmp_path, capsys):
    """Each setting that is dropped from the record changes the score: so each is used."""
    record = json.loads(record_of(scored, "TinyRetrieval").read_text())

    def with_changes(change) -> int:
        copy = json.loads(json.dumps(record))
        change(copy)
        path = tmp_path / "TinyRetrieval.json"
        path.write_text(json.dumps(copy))
        return call("--rerun", path)

    assert with_changes(lambda r: None) == 0
    assert with_changes(lambda r: r["sides"]["query"].update(prompt="word9 word9 word9 ")) == 1
    assert with_changes(lambda r: r["sides"]["document"].update(prompt="word9 word9 word9 ")) == 1
    assert with_changes(lambda r: r["recipe"].update(max_length=6)) == 1


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda root: write(root / "data/TinyRetrieval/queries.jsonl", [{"id": "q0", "text": "x"}]), "now they are"),
        (lambda root: shutil.rmtree(root / "adapter"), "there is no adapter directory"),
        (lambda root: shutil.rmtree(root / "data/TinyRetrieval"), "unknown task 'TinyRetrieval'"),
        (
            lambda root: (root / "adapter/embedder.json").write_text(
                (root / "adapter/embedder.json").read_text().replace('"max_length": 512', '"max_length": 511')
            ),
            "of a model of version",
        ),
    ],
)
def test_what_is_not_as_it_was_is_one_error(scored, tmp_path, change, message, capsys):
    for name in ("adapter", "data"):
        shutil.copytree(scored / name, tmp_path / name)
    change(tmp_path)
    with pytest.raises(SystemExit) as stop:
        flags = ["--adapter_path", tmp_path / "adapter", "--data_dir", tmp_path / "data"]
        call("--rerun", record_of(scored, "TinyRetrieval"), *flags)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def quantised(monkeypatch, adapter: Path) -> None:
    """Make an adapter one of a quantised base LLM, which is loaded without its library: the products' dtype is as asked."""
    manifest = json.loads((adapter / "embedder.json").read_text())
    manifest["base_model"]["quantisation"] = "4bit"
    (adapter / "embedder.json").write_text(json.dumps(manifest))
    whole = loading.load_backbone
    monkeypatch.setattr(loading, "load_backbone", lambda *args, **options: whole(*args, **options | {"quantisation": None}))


def test_a_quantised_model_is_scored_again_in_its_dtype(scored, tmp_path, monkeypatch, capsys):
    shutil.copytree(scored / "adapter", tmp_path / "adapter")
    quantised(monkeypatch, tmp_path / "adapter")
    words = ["--adapter_path", tmp_path / "adapter", "--data_dir", scored / "data", "--output_dir", tmp_path / "out"]
    assert call(*words, "--tasks", "TinyPair", "--dtype", "bfloat16") == 0
    path = record_of(tmp_path, "TinyPair")
    record = json.loads(path.read_text())
    assert (record["encoder"]["dtype"], record["encoder"]["compute_dtype"]) == ("4bit", "bfloat16")
    assert call("--rerun", path) == 0
    assert "the same to 0.0001" in capsys.readouterr().out
    for flags, message in (
        (["--dtype", "float32"], "--dtype would do nothing beside --rerun"),
        ([], "of a quantised base LLM and does not say in which dtype that computed"),
    ):
        with pytest.raises(SystemExit):
            call("--rerun", path, *flags)
        assert message in capsys.readouterr().err
        record["encoder"].pop("compute_dtype", None)  # as in older records
        path.write_text(json.dumps(record))


def test_a_result_of_one_subset_is_made_again_of_that_one(scored, tmp_path, capsys):
    """As of a benchmark that takes a part of a task: the other subset cannot even be read."""
    shutil.copytree(scored / "data/STS17", tmp_path / "data/STS17")
    (tmp_path / "data/STS17/test.es-es.jsonl").write_text("{\n")
    (spec,) = find_tasks(["STS17"], tmp_path / "data")
    places = {"adapter_path": str(scored / "adapter"), "base_model": None}
    model = load(scored / "adapter", device="cpu")
    result = evaluate(model, [replace(spec, subsets=("en-en",))], tmp_path / "out", origin=places)
    assert not result.failures
    assert call("--rerun", result.folder / "recipes/STS17.json") == 0
    assert "en-en, test" in capsys.readouterr().out
    record = json.loads((result.folder / "recipes/STS17.json").read_text())
    (tmp_path / "edited.json").write_text(json.dumps(record | {"subsets": ["en-xx"]}))
    with pytest.raises(SystemExit):
        call("--rerun", tmp_path / "edited.json")
    assert "mteb's task STS17 has no subset 'en-xx'; it has ko-ko" in capsys.readouterr().err


def test_another_base_llm_of_the_same_version_is_refused(scored, tmp_path, capsys):
    """As after an edit of its config.json, which the version does not cover."""
    record = json.loads(record_of(scored, "TinyRetrieval").read_text())
    record["recipe"]["base_content"] = "0123456789abcdef"
    (tmp_path / "TinyRetrieval.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit):
        call("--rerun", tmp_path / "TinyRetrieval.json")
    assert "is of a base LLM whose weights and config have the hash 0123456789abcdef" in capsys.readouterr().err


def test_another_evaluation_version_is_refused(scored, monkeypatch, capsys):
    monkeypatch.setattr("evaluation.rerun.EVALUATION_VERSION", 999)
    with pytest.raises(SystemExit):
        call("--rerun", record_of(scored, "TinyRetrieval"))
    assert "this is 999" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, flags, message",
    [
        (None, [], "cannot be read"),
        ({"sides": []}, [], "was changed or damaged: sides cannot be read"),
        ({"encoder": None, "origin": "x"}, [], "was changed or damaged: encoder, origin cannot be read"),
        ("{", [], "no valid JSON"),
        ("[]", [], "does not say task"),
        ('{"task": "X"}', [], "does not say model, origin"),
        ("real", ["--tasks", "X"], "--tasks would do nothing beside --rerun"),
        ("real", ["--max_length", "5"], "--max_length would do nothing"),
        ("real", ["--save_embeddings"], "--save_embeddings would do nothing"),
    ],
)
def test_a_record_that_cannot_be_used_is_one_error(scored, tmp_path, content, flags, message, capsys):
    path = record_of(scored, "TinyRetrieval") if content == "real" else tmp_path / "r.json"
    if isinstance(content, dict):
        path.write_text(json.dumps(json.loads(record_of(scored, "TinyRetrieval").read_text()) | content))
    elif content not in (None, "real"):
        path.write_text(content)
    with pytest.raises(SystemExit) as stop:
        call("--rerun", path, *flags)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_what_went_wrong_is_shown_before_its_folder_is_removed(scored, monkeypatch, capsys):
    def breaks(*_: object) -> None:
        raise RuntimeError("a spoon in the engine")

    monkeypatch.setattr("evaluation.results.score_task.TaskScorer._score_with_mteb", breaks)
    with pytest.raises(SystemExit):
        call("--rerun", record_of(scored, "TinyRetrieval"))
    error = capsys.readouterr().err
    assert "in breaks" in error  # of the traceback
    assert "TinyRetrieval cannot be scored again: RuntimeError: a spoon in the engine\n" in error
