"""Several data sets: what the file may say, how each is treated, and that a run goes on only with the same ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from model_loaders.text.recipe import Recipe
from tests.tiny import ROOT, new_model, triplets
from trainers.flags.command_line import parse
from trainers.run.build import build_trainer
from trainers.run.preflight import check_negatives
from trainers.step.batch import TripletCollator
from trainers.train import main
from triplets.arguments import DataArguments
from triplets.data_sets import KEYS
from triplets.dataset import LoadedDataSet, TripletRows
from triplets.read import read_triplets

SMALL = ["--pooling_latents", "6", "--pooling_heads", "2", "--pooling_head_dim", "4", "--lora_dropout", "0"]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two data sets of eight and four rows; the second has two negatives a row."""
    first = [{"query": row["query"], "positive": row["positive"]} for row in triplets(8)]
    second = [
        {"query": row["query"], "positive": row["positive"], "negative": row["negatives"]} for row in triplets(12, negatives=2)
    ]
    write_rows(tmp_path / "data" / "first.jsonl", first)
    write_rows(tmp_path / "data" / "second.jsonl", second[8:])
    return tmp_path / "data"


def mix(folder: Path, text: str) -> Path:
    path = folder / "mix.yaml"
    path.write_text(text)
    return path


def resolved(path: Path, **flags: Any) -> list[dict[str, Any]]:
    entries = DataArguments(dataset_config=str(path), **flags).dataset_config
    assert isinstance(entries, list)
    return entries


def read(path: Path, tmp_path: Path, **flags: Any) -> TripletRows:
    return read_triplets(DataArguments(dataset_config=str(path), **flags), cache_dir=tmp_path / "cache")


# The file


def test_what_an_entry_does_not_say_the_flags_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mix(folder, "- name: first.jsonl\n- name: second.jsonl\n  max_negatives: 1\n  label: two\n  repeat: 0.5\n"
                       "- name: owner/name\n  split: test\n")  # fmt: skip
    monkeypatch.chdir(folder.parent)  # paths are taken from the file's folder
    first, second, third = resolved(path, max_negatives=3, max_train_samples=7)
    assert first == {
        "name": str(folder / "first.jsonl"), "file": None, "split": "train", "label": "first", "repeat": 1.0, "weight": None,
        "query_prompt": None, "document_prompt": None, "in_batch_negatives": True, "max_negatives": 3, "max_train_samples": 7,
    }  # fmt: skip
    assert (second["label"], second["max_negatives"], second["repeat"]) == ("two", 1, 0.5)
    assert (third["name"], third["split"], third["label"]) == ("owner/name", "test", "owner/name")
    assert set(first) == set(KEYS) - {"config_name"}  # there only where one is given


def test_the_resolved_list_gives_the_same_again(folder: Path, tmp_path: Path) -> None:
    path = mix(folder, "- name: first.jsonl\n  weight: 2\n- name: first.jsonl\n  weight: 1\n  query_prompt: ''\n")
    words = ["--model_name_or_path", "m", "--output_dir", str(tmp_path / "out"), "--design", "model1"]
    first = parse([*words, "--dataset_config", str(path), "--batching", "0.5"]).resolved()
    assert [entry["label"] for entry in first["dataset_config"]] == ["first-1", "first-2"]
    assert json.loads(json.dumps(first)) == first
    record = tmp_path / "train_config.json"
    record.write_text(json.dumps(first))
    path.unlink()  # the record holds what was in it
    assert parse(["--config", str(record)]).resolved() == first


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("- name: first.jsonl\n  wieght: 2\n", 2, "'wieght' (did you mean 'weight'?)"),
        ("- name: frst.jsonl\n", 1, "first.jsonl"),
        ("- name: ../data\n  file: sceond.jsonl\n", 2, "second.jsonl"),
        ("- label: x\n", 1, "no `name`"),
        ("- name: 3\n", 1, "expected a text"),
        ("- name: first.jsonl\n  repeat: 0\n", 2, "above 0"),
        ("- name: first.jsonl\n  repeat: .nan\n", 2, "above 0"),
        ("- name: first.jsonl\n  weight: true\n", 2, "above 0"),
        ("- name: first.jsonl\n  weight: [1]\n", 2, "above 0"),
        ("- name: first.jsonl\n  in_batch_negatives: 1\n", 2, "true or false"),
        ("- name: first.jsonl\n  max_negatives: 1.5\n", 2, "whole number"),
        ("- name: first.jsonl\n  max_negatives: -1\n", 2, "0 or more"),
        ("- name: first.jsonl\n  max_train_samples: 0\n", 2, "above 0"),
        ("- name: first.jsonl\n  repeat: 1\n  weight: 1\n", 3, "exclude each other"),
        ("- name: first.jsonl\n  in_batch_negatives: false\n  max_negatives: 0\n", 1, "nothing is left"),
        ("- name: first.jsonl\n- second.jsonl\n", 2, "expected an entry"),
        ("- name: first.jsonl\n  name: second.jsonl\n", 2, "stands in line 1 already"),
        ("name: first.jsonl\n", 1, "expected a list"),
        ("- name: [\n", 2, "no valid YAML"),
    ],
)
def test_mistakes_name_file_and_line(text: str, line: int, told: str, folder: Path) -> None:
    path = mix(folder, text)
    with pytest.raises(UserError) as raised:
        resolved(path)
    assert f"{path}:{line}" in str(raised.value) and told in str(raised.value)


def test_mistakes_of_the_whole_file(folder: Path) -> None:
    for text, told in (
        ("- name: first.jsonl\n  weight: 1\n- name: second.jsonl\n", "second has no weight"),
        ("- name: first.jsonl\n  label: a-1\n- name: second.jsonl\n  label: a\n- name: first.jsonl\n  label: a\n", "'a-1'"),
        ("", "expected a list"),
    ):
        with pytest.raises(UserError, match=r"mix\.yaml") as raised:
            resolved(mix(folder, text))
        assert told in str(raised.value)
    with pytest.raises(UserError, match=r"--dataset_config .*cannot be read"):
        resolved(folder / "no.yaml")
    with pytest.raises(UserError, match="leave --dataset_name"):
        DataArguments(dataset_config=str(mix(folder, "- name: first.jsonl\n")), dataset_name="d")
    with pytest.raises(UserError, match="entry 1"):
        DataArguments(dataset_config=[{"name": "first.jsonl", "no": 1}])


def test_the_example_is_what_is_read(folder: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "configs" / "data" / "example.yaml", folder / "example.yaml")
    rows = [{"query": "q", "positive": "p", "negative": "n"}]
    write_rows(folder / "nli.jsonl.gz", rows)
    write_rows(folder / "intents" / "train.jsonl", rows)
    entries = resolved(folder / "example.yaml")
    assert [entry["label"] for entry in entries] == ["retrieval", "nli", "train"]
    assert {key for entry in entries for key, value in entry.items() if value is not None} == set(KEYS) - {"weight"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dataset_name", "d", "--batching", "blended"], "--batching says how several"),
        (
            ["--dataset_config", "MIX", "--batching", "mixed"],
            "homogeneous, blended, a number",
        ),
        (
            ["--dataset_config", "MIX", "--batching", "1.0"],
            "homogeneous, blended, a number",
        ),
        (["--dataset_config", "MIX", "--batching", "0.5", "--train_sampling_strategy", "sequential"], "in order"),
        (["--dataset_name", "d", "--in_batch_negatives", "false", "--max_negatives", "0"], "no negatives at all"),
    ],
)
def test_what_goes_together(words: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(mix(folder, "- name: first.jsonl\n"))
    with pytest.raises(SystemExit):
        parse([*(path if word == "MIX" else word for word in words), "--model_name_or_path", "m", "--output_dir",
               str(folder / "out")], design="model1")  # fmt: skip
    assert told in capsys.readouterr().err


def test_the_command_line_names_the_data_whichever_way_the_file_does(folder: Path, tmp_path: Path) -> None:
    path = str(mix(folder, "- name: first.jsonl\n"))
    words = ["--model_name_or_path", "m", "--output_dir", str(tmp_path / "out"), "--config", str(tmp_path / "recipe.yaml")]
    (tmp_path / "recipe.yaml").write_text("dataset_name: owner/name\n")
    data = parse([*words, "--dataset_config", path], design="model1").data
    assert data.dataset_name is None and isinstance(data.dataset_config, list)
    (tmp_path / "recipe.yaml").write_text(f"dataset_config: {path}\n")
    data = parse([*words, "--dataset_name", "d"], design="model1").data
    assert data.dataset_name == "d" and data.dataset_config is None


# How the rows are treated


def test_rows_know_where_they_stand_and_how_they_are_treated(folder: Path, tmp_path: Path) -> None:
    path = mix(folder, "- name: first.jsonl\n  query_prompt: 'a '\n- name: second.jsonl\n  in_batch_negatives: false\n")
    rows = read(path, tmp_path)
    assert len(rows) == 12 and [part.label for part in rows.parts] == ["first", "second"]
    assert [part.negatives for part in rows.parts] == [(8,), (0, 0, 4)]
    fetched = rows.__getitems__([9, 0, 11, 7, 0])  # in the order asked for, also over the borders of the data sets
    assert [row["place"].rpartition("/")[2] for row in fetched] == [
        "second.jsonl:2", "first.jsonl:1", "second.jsonl:4", "first.jsonl:8", "first.jsonl:1",
    ]  # fmt: skip
    assert [row["in_batch"] for row in fetched] == [False, True, False, True, True]
    assert [row["query_prompt"] for row in fetched] == [None, "a ", None, "a ", "a "]
    assert rows.__getitems__([]) == []
    assert [row["query"] for row in rows] == [rows[index]["query"] for index in range(12)]
    assert [row["place"][-1] for row in rows.sample(3)] == ["1", "5", "1"]


def test_weights_divide_an_epoch(folder: Path, tmp_path: Path) -> None:
    rows = read(mix(folder, "- name: first.jsonl\n  weight: 1\n- name: second.jsonl\n  weight: 3\n"), tmp_path)
    assert [share.taken for share in rows.shares] == [3, 9]
    with pytest.raises(UserError, match="weight"):
        read(mix(folder, "- name: first.jsonl\n  weight: 0.001\n- name: second.jsonl\n  weight: 3\n"), tmp_path)


def test_rows_without_any_negative_are_invalid_where_there_are_no_others(folder: Path, tmp_path: Path) -> None:
    path = mix(folder, "- name: first.jsonl\n  in_batch_negatives: false\n- name: second.jsonl\n")
    with pytest.raises(UserError, match=r"first.jsonl:1: no 'negative'") as raised:
        read(path, tmp_path)
    assert "8 rows" in str(raised.value)
    more = write_rows(
        folder / "first.jsonl", [{"query": "q", "positive": "p"}, {"query": "q", "positive": "p", "negative": "n"}]
    )
    assert len(read(path, tmp_path, on_invalid_rows="skip").parts[0]) == 1
    # The same file, otherwise treated: not taken from the cache.
    data = DataArguments(dataset_name=str(more), on_invalid_rows="skip")
    assert len(read_triplets(data, cache_dir=tmp_path / "cache")) == 2


def test_batches_of_one_query_need_negatives() -> None:
    plain = LoadedDataSet([{"query": "q", "positive": "p", "negatives": []}] * 3, "plain")
    lonely = LoadedDataSet([{"query": "q", "positive": "p", "negatives": []}], "lonely")
    hard = LoadedDataSet([{"query": "q", "positive": "p", "negatives": ["n"]}], "hard")
    check_negatives(TripletRows([plain, hard]), 2, homogeneous=True)
    check_negatives(TripletRows([plain, lonely]), 2, homogeneous=False)
    for parts, queries, homogeneous in (([plain, lonely], 2, True), ([plain, hard], 1, False), ([plain], 1, True)):
        with pytest.raises(UserError, match="one query and no negatives") as raised:
            check_negatives(TripletRows(parts), queries, homogeneous=homogeneous)
        assert str(raised.value).startswith(parts[1].label if queries == 2 else "plain")


def test_prompts_and_switches_reach_the_batch(base: Path, folder: Path, tmp_path: Path) -> None:
    path = mix(folder, "- name: first.jsonl\n- name: second.jsonl\n  query_prompt: 'word9 '\n  document_prompt: ''\n"
                       "  in_batch_negatives: false\n")  # fmt: skip
    model = new_model("model1", base, recipe=Recipe(query_prompt="word7 word8 ", document_prompt="word6 "))
    rows = read(path, tmp_path)
    chosen = rows.__getitems__([0, 8])
    batch = TripletCollator(model.tokenizer, model.recipe)(chosen)
    expected = ["word7 word8 " + chosen[0]["query"], "word9 " + chosen[1]["query"], "word6 " + chosen[0]["positive"],
                chosen[1]["positive"], *chosen[1]["negatives"]]  # fmt: skip
    assert batch.ids == model.tokenizer.ids(expected, 512)
    assert (batch.queries, batch.negatives.tolist(), batch.in_batch.tolist()) == (2, [0, 2], [True, False])
    assert [place.rpartition("/")[2] for place in batch.places] == ["first.jsonl:1", "second.jsonl:1"]
    assert batch.texts == [row["query"] for row in chosen]


@pytest.mark.parametrize("appends", [False, True])
def test_cut_texts_are_counted(base: Path, tmp_path: Path, appends: bool) -> None:
    from model_loaders.text.tokenizer import TextTokenizer, load_tokenizer
    from tests.tiny import write_tokenizer

    write_tokenizer(tmp_path, appends_eos=appends)
    tokenizer = TextTokenizer(load_tokenizer(tmp_path))
    texts = ["", "word1", "word1 word2", "word1 word2 word3", "word1 " * 90]
    rows, cut = tokenizer.tokenise(texts, 4)  # BOS, two words, EOS
    assert cut == [False, False, False, True, True] and rows == tokenizer.ids(texts, 4)
    collator = TripletCollator(tokenizer, Recipe(max_length=4, query_max_length=3))
    batch = collator([{"query": texts[2], "positive": texts[2], "negatives": texts[3:]}])
    assert batch.truncated == (1, 2)


# Runs


def arguments(base: Path, path: Path, output: Path, *more: str) -> list[str]:
    return ["--model_name_or_path", str(base), "--dataset_config", str(path), "--output_dir", str(output), "--use_cpu", *SMALL,
            "--per_device_train_batch_size", "2", "--disable_tqdm", "true", "--learning_rate", "0.01", *more]  # fmt: skip


def test_batching_acts(base: Path, folder: Path, tmp_path: Path) -> None:
    path = mix(folder, "- name: first.jsonl\n- name: second.jsonl\n")

    def kinds(*more: str) -> list[int]:
        trainer = build_trainer(parse(arguments(base, path, tmp_path / "out", *more), design="model3"))
        batches = list(trainer.get_train_dataloader())
        assert len(batches) == 6
        return [len({place.rpartition(":")[0] for place in batch.places}) for batch in batches]

    assert kinds() == [1] * 6
    assert sum(kind > 1 for kind in kinds("--batching", "blended")) >= 1
    assert sum(kind > 1 for kind in kinds("--batching", "0.5")) in (1, 2, 3)


def test_a_run_says_what_it_takes_and_goes_on_only_with_the_same(
    base: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mix(folder, "- name: first.jsonl\n  repeat: 0.5\n- name: second.jsonl\n  in_batch_negatives: false\n")
    argv = arguments(base, path, tmp_path / "out", "--save_steps", "2", "--resume_from_checkpoint", "true")
    assert main([*argv, "--num_train_epochs", "1"], design="model3") == 0
    out = capsys.readouterr().out
    assert "4 of 8 rows an epoch, 50.0% of all" in out and "no in-batch negatives" in out
    assert json.loads((tmp_path / "out" / "train_result.json").read_text())["steps"] == 4
    record = json.loads((tmp_path / "out" / "train_config.json").read_text())
    assert record["dataset_config"][0]["repeat"] == 0.5

    path.write_text(path.read_text().replace("repeat: 0.5", "repeat: 1"))
    assert main([*argv, "--num_train_epochs", "2"], design="model3") == 1
    assert "dataset_config" in capsys.readouterr().err
    moved = folder / "elsewhere.yaml"  # the same content is the same run
    moved.write_text("# a comment\n" + path.read_text().replace("repeat: 1", "repeat: 0.5"))
    argv[argv.index("--dataset_config") + 1] = str(moved)
    assert main([*argv, "--num_train_epochs", "2"], design="model3") == 0


@pytest.mark.parametrize("batching", ["homogeneous", "0.5"])
def test_a_resumed_run_ends_with_the_same_weights(base: Path, folder: Path, tmp_path: Path, batching: str) -> None:
    path = mix(folder, "- name: first.jsonl\n  repeat: 0.5\n- name: second.jsonl\n  in_batch_negatives: false\n")

    def run(output: Path, *more: str) -> bytes:
        words = arguments(base, path, output, "--save_steps", "3", "--batching", batching, "--lr_scheduler_type", "constant")
        assert main([*words, *more], design="model3") == 0
        return (output / "adapter_model.safetensors").read_bytes() + (output / "pooling.safetensors").read_bytes()

    undisturbed = run(tmp_path / "a", "--max_steps", "6")
    run(tmp_path / "b", "--max_steps", "3")
    (tmp_path / "b" / "embedder.json").unlink()
    assert run(tmp_path / "b", "--max_steps", "6", "--resume_from_checkpoint", "true") == undisturbed
