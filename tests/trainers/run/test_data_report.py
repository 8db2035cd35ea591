"""The data check: counts, lengths, repetitions and overlap by place, and how often rows are seen, also from a run."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.model_loaders.layouts.write_layouts import write_first, write_second
from tests.trainers.conftest import Command
from trainers.check_data import main
from trainers.checkpoints.run_files import SEAL_FILE
from trainers.checkpoints.seal import RunIdentity, write_seal
from trainers.data_check.report import last_checkpoint, parse_checks
from triplets.batch_plan import BatchPlan, EpochShare
from triplets.check.exposure import steps_of, times_seen
from triplets.check.overlap import is_identifier, text_fields
from triplets.check.scan import Lengths

ROWS = [
    {"query": "What is a  cat?", "positive": "An animal.", "negative": ["A car.", "a CAR."]},
    {"query": "what is a cat?", "positive": "an  animal."},  # the same row, up to case and white space
    {"query": "What is a cat?", "positive": "A feline.", "negative": ["a feline.", "what is a cat?", "x"]},
    {"query": "same", "positive": "Same"},
    {"query": "other", "positive": "An animal."},
]


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the check; returns its JSON, and keeps what it printed."""

    def run(*words: str | Path, status: int = 0) -> dict[str, Any]:
        out = tmp_path / "report.json"
        assert main([*map(str, words), "--cache_dir", str(tmp_path / "cache"), "--json", str(out)]) == status
        run.text = capsys.readouterr().out  # type: ignore[attr-defined]
        report: dict[str, Any] = json.loads(out.read_text())
        return report

    return run


def test_counts_lengths_and_repetitions(check: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", ROWS)
    report = check("--dataset_name", path)
    (found,) = report["data sets"]
    assert (found["label"], found["rows"], found["rows with so many negatives"]) == ("d", 5, [3, 0, 1, 1])
    assert found["distinct"] == {"queries": 3, "positives": 3}
    assert found["characters"]["negative"] == {"texts": 5, "median": 6, "90%": 14, "99%": 14, "longest": 14}
    assert "tokens" not in found

    def place(line: int) -> str:
        return f"{path}:{line}"

    assert report["repetitions"] == {
        "equal rows": {"count": 1, "examples": [[place(1), place(2)]]},
        "queries with several positives": {"count": 1, "examples": [[place(1), place(3)]]},
        "negatives equal to their positive": {"count": 1, "examples": [[place(3)]]},
        "negatives equal to their query": {"count": 1, "examples": [[place(3)]]},
        "positives equal to their query": {"count": 1, "examples": [[place(4)]]},
    }
    for told in ("1 equal rows", f"{place(1)} and {place(2)}", "3x: 5", "5        3          3  3, 0, 1, 1 "):
        assert told in check.text


def test_tokens_with_prompts_and_what_would_be_cut(check: Any, base: Path, tmp_path: Path) -> None:
    rows = [{"query": "word1 " * length, "positive": "word2", "negative": ["word3 " * 20]} for length in (1, 2, 3, 4)]
    write(tmp_path / "a.jsonl", rows)
    mix = tmp_path / "mix.yaml"
    mix.write_text("- name: a.jsonl\n- name: a.jsonl\n  query_prompt: 'word5 word6 '\n")
    words = ["--dataset_config", mix, "--model_name_or_path", base, "--query_prompt", "word4 ", "--max_seq_length", "8"]
    report = check(*words, "--query_max_length", "6")
    queries = [one["tokens"]["query"] for one in report["data sets"]]
    assert [(one["longest"], one["cut"]) for one in queries] == [(7, 0.25), (8, 0.5)]  # BOS, prompt, words, EOS
    assert report["data sets"][0]["tokens"]["negative"]["cut"] == 1.0
    assert report["longest"] == {"query": 6, "document": 8}
    assert check(*words, "--token_rows", "2")["data sets"][0]["tokens"]["query"]["texts"] == 2
    assert "queries are cut at 8, documents at 8" in check.text


def test_overlap_by_place_on_both_sides(check: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [*ROWS, {"query": "twice", "positive": "Twice"}])
    folder = tmp_path / "eval"
    pairs = [
        {"sentence1": "WHAT IS A CAT?", "sentence2": "an animal.", "score": 3.0},  # together in one row
        {"sentence1": "same", "sentence2": "a feline.", "score": 1.0},  # both there, not together
        {"sentence1": "new", "sentence2": "x"},
        {"sentence1": "twice", "sentence2": "twice"},  # stands there twice in one row
        {"sentence1": "x", "sentence2": "x"},  # only once
    ]
    write(folder / "pairs" / "test.jsonl.gz", pairs)
    write(folder / "corpus.jsonl", [{"id": "other", "text": "unseen"}, {"_id": "1", "text": ["unseen", "other"]}])
    (folder / "clean.csv").write_text("text,label\nnothing of it,0\n")
    report = check("--dataset_name", path, "--against", folder, "--examples", "2")
    by_name = {Path(one["file"]).name: one for one in report["overlap"]}
    assert set(by_name) == {"test.jsonl.gz", "corpus.jsonl", "clean.csv"}
    found = by_name["test.jsonl.gz"]
    assert (found["rows"], found["texts"], found["shared_rows"], found["together"]) == (5, 10, 5, 2)
    assert found["fields"] == {"sentence1": 4, "sentence2": 5}
    assert found["training_rows"] == {"d": 6}
    assert found["examples"][0] == {
        "evaluation": f"{folder / 'pairs' / 'test.jsonl.gz'}:1", "field": "sentence1", "training": f"{path}:1",
        "role": "query", "text": "WHAT IS A CAT?",
    }  # fmt: skip
    assert len(found["examples"]) == 2
    assert by_name["corpus.jsonl"]["fields"] == {"text": 1}  # the id is none
    assert by_name["clean.csv"]["fields"] == {} and "1 of 3 files share nothing" in check.text


def test_fields_of_a_row() -> None:
    row = {"id": "a", "query-id": "b", "text": "t", "meta": {"title": "u", "doc_id": "c"}, "positive": ["v", " "], "score": 1}
    assert list(text_fields(row)) == [("text", "t"), ("meta.title", "u"), ("positive", "v")]
    labels = dict.fromkeys(["label", "Labels", "label_text", "class", "category", "gold_label", "score"], "no")
    assert list(text_fields({"text": "t", **labels, "classes": "u"})) == [("text", "t"), ("classes", "u")]
    assert [key for key in ("_id", "ID", "corpus_id", "idea", "android", "text") if is_identifier(key)] == [
        "_id",
        "ID",
        "corpus_id",
    ]


def test_lengths() -> None:
    lengths = Lengths(Counter({1: 50, 10: 40, 100: 10}))
    assert [lengths.quantile(share) for share in (0.5, 0.51, 0.9, 0.99)] == [1, 10, 10, 100]
    assert (lengths.above(10), lengths.above(100), Lengths().above(1), Lengths().quantile(0.5)) == (0.1, 0.0, 0.0, 0)


# How often rows are seen


@pytest.mark.parametrize("accumulation", [1, 3])
def test_seen_counts_what_the_batches_hold(accumulation: int) -> None:
    plan = BatchPlan([EpochShare(10, 10), EpochShare(7, 3)], 2, seed=3)  # seven batches
    rows = [batch for epoch in range(3) for batch in batches_of(plan, epoch)]
    for steps in range(0, 3 * -(-7 // accumulation) + 1):
        epochs, rest = divmod(steps, -(-7 // accumulation))
        taken = rows[: 7 * epochs + min(7, rest * accumulation)]
        expected = np.bincount([row for batch in taken for row in batch], minlength=17)
        assert times_seen(plan, steps, accumulation).tolist() == expected.tolist()


def batches_of(plan: BatchPlan, epoch: int) -> list[list[int]]:
    plan.set_epoch(epoch)
    return list(plan)


def test_moments() -> None:
    plan = BatchPlan(10, 2, seed=0)  # five batches, three steps
    moments = ["7", "7steps", "1epoch", "2 epochs", "0.5e"]
    assert [steps_of(moment, plan, 2) for moment in moments] == [7, 7, 3, 6, 2]


def test_declared_and_real_shares(check: Any, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"query": f"q{n}", "positive": f"p{n}"} for n in range(60)])
    write(tmp_path / "b.jsonl", [{"query": f"r{n}", "positive": f"s{n}", "negative": "n"} for n in range(20)])
    mix = tmp_path / "mix.yaml"
    mix.write_text("- name: a.jsonl\n  weight: 1\n- name: b.jsonl\n  weight: 3\n  in_batch_negatives: false\n")
    report = check(
        "--dataset_config", mix, "--per_device_train_batch_size", "4", "--seen_after", "1epochs", "5", "--processes", "2"
    )
    assert [(one["rows an epoch"], one["declared share"]) for one in report["data sets"]] == [(20, 0.25), (60, 0.75)]
    assert report["batches"] == {"batching": "homogeneous", "queries a batch": 8, "processes": 2, "batches an epoch": 11,
                                 "of one data set": 11}  # fmt: skip
    epoch, five = report["seen"]
    assert (epoch["steps"], five["steps"]) == (11, 5)
    assert [one["rows seen so often"] for one in epoch["data sets"]] == [{"0": 40, "1": 20}, {"3": 20}]
    assert sum(one["queries"] for one in five["data sets"]) < 40
    assert "75.00%, weight 3" in check.text and "(no in-batch)" in check.text
    blended = check("--dataset_config", mix, "--batching", "blended")
    assert blended["batches"]["of one data set"] == 0


def test_batches_of_masked_prediction_are_packed_rows(check: Any, base: Path, tmp_path: Path) -> None:
    """Their number needs a tokenizer; without one nothing is said of batches."""
    for name, words, count in (("long", 31, 10), ("short", 3, 30)):
        write(tmp_path / f"{name}.jsonl", [{"text": "word1 " * words}] * count)
    mix = tmp_path / "mix.yaml"
    mix.write_text("- name: long.jsonl\n  weight: 1\n- name: short.jsonl\n  weight: 1\n")
    words = ["--dataset_config", mix, "--objective", "mntp", "--max_seq_length", "8", "--per_device_train_batch_size", "4"]
    report = check(*words, "--model_name_or_path", base)
    assert [one["rows an epoch"] for one in report["data sets"]] == [28, 27]  # of 40 and 15 packed rows
    assert report["batches"]["batches an epoch"] == report["seen"][0]["steps"] // 3 == 14  # three epochs
    assert report["seen"][0]["data sets"][1]["queries"] == 81
    assert check(*words)["batches"] is None and "counted with --model_name_or_path" in check.text
    write(tmp_path / "short.jsonl", [{"text": "word1"}])
    report = check(*words, "--model_name_or_path", base, status=1)
    assert report["batches"] is None and any("short" in problem for problem in report["problems"]), "the rest is told"
    assert len(report["data sets"]) == 2 and report["repetitions"]


def test_report_on_a_run(check: Any, command: Command, finished_copy: Path) -> None:
    (finished_copy / "checkpoint-4" / SEAL_FILE).unlink()  # damaged: the run would go on from the one before
    report = check("--run", finished_copy)
    assert [(moment["moment"], moment["steps"]) for moment in report["seen"]] == [("3", 3), ("4", 4)]
    assert report["seen"][0]["data sets"][0]["queries"] == 6  # three batches of two rows
    assert report["data sets"][0]["tokens"]["query"]["texts"] == 6  # the base LLM is in the record
    assert check("--run", finished_copy, "--seen_after", "2epochs")["seen"][0]["steps"] == 6
    plain = check(*command(finished_copy), "--design", "model3")  # the run's own command line
    assert plain["seen"][0] == report["seen"][1]


def test_processes_of_the_last_checkpoint(tmp_path: Path) -> None:
    assert last_checkpoint(None) == last_checkpoint(str(tmp_path)) == (0, 1)
    (tmp_path / "checkpoint-7").mkdir()
    write_seal(tmp_path / "checkpoint-7", step=7, identity=RunIdentity(processes=2, data=""))
    assert last_checkpoint(str(tmp_path)) == (7, 2)


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--dataset_name", "BAD"], 1, "bad.jsonl:2: 'query' is empty"),
        (["--dataset_name", "BAD", "--against", "nowhere"], 1, "--against nowhere"),
        (["--dataset_name", "BAD", "--on_invalid_rows", "skip", "--seen_after", "soon"], 1, "--seen_after soon"),
        (["--dataset_nam", "BAD"], 2, "--dataset_name"),
        ([], 2, "no training data"),
        (["--run", "nowhere"], 2, "train_config.json"),
        (["--dataset_name", "BAD", "--examples", "-1"], 2, "--examples"),
    ],
)
def test_mistakes(words: list[str], status: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "bad.jsonl", [ROWS[0], {"query": "", "positive": "p"}])
    assert main([str(path) if word == "BAD" else word for word in words] + ["--cache_dir", str(tmp_path / "c")]) == status
    err = capsys.readouterr().err
    assert told in err and "Traceback" not in err


def test_help_names_every_flag_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in ("against", "seen_after", "run", "processes", "examples", "token_rows", "json", "dataset_config"):
        assert f"--{name} " in out
    (check,) = parse_checks(["--dataset_name", "d", "--seen_after", "5"])
    assert check.own.seen_after == ["5"]


def test_the_data_of_every_stage(check: Any, tmp_path: Path) -> None:
    """Of a file, and of a run: what only one stage reads is compared with the evaluation data, too."""
    first, second = write(tmp_path / "first.jsonl", ROWS[:3]), write(tmp_path / "second.jsonl", ROWS[3:])
    test = write(tmp_path / "test" / "t.jsonl", [{"query": "SAME"}])
    config = {"design": "model1", "dataset_name": str(first), "max_steps": 2}
    entries = [{"objective": "mntp", "design": "bidirectional_mean"}, {"start": "merged", "dataset_name": str(second)}]
    (tmp_path / "staged.yaml").write_text(yaml.safe_dump({**config, "stages": entries}))
    report = check("--config", tmp_path / "staged.yaml", "--against", test)
    assert [stage["data sets"][0]["label"] for stage in report["stages"]] == ["first", "second"]
    assert [stage["overlap"][0]["shared_rows"] for stage in report["stages"]] == [0, 1]
    assert "Stage 2 of 2\n" in check.text
    for folder, path in ((tmp_path / "run" / "stages" / "1-mntp", first), (tmp_path / "run", second)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train_config.json").write_text(json.dumps({"dataset_name": str(path), "max_steps": 2}))
    of_run = check("--run", tmp_path / "run", "--against", test)
    assert [stage["overlap"] for stage in of_run["stages"]] == [stage["overlap"] for stage in report["stages"]]


def test_an_llm2vec_adapter_brings_its_recipe(check: Any, base: Path, tmp_path: Path) -> None:
    """It appends no end token, and its lengths are its own; a second one is told its first."""
    write_first(tmp_path / "mntp", base)
    write_second(tmp_path / "second", base, settings={"max_length": 24, "doc_max_length": 20})
    path = write(tmp_path / "d.jsonl", [{"query": "word1 word2", "positive": "word3 " * 30}])
    for words, longest in ((["mntp"], 31), (["second", "--model_name_or_path", tmp_path / "mntp"], 21)):
        report = check("--dataset_name", path, "--peft_model_name_or_path", tmp_path / words[0], *words[1:])
        (found,) = report["data sets"]
        assert found["tokens"]["query"]["longest"] == 3  # BOS and two words
        assert found["tokens"]["positive"]["longest"] == longest
    assert report["longest"] == {"query": 24, "document": 24}
