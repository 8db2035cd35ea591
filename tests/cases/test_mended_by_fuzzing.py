"""Faults that mutated files and brothers of known faults showed, each with the value that is right."""

from __future__ import annotations

import gzip
import json
import logging
import pickle
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from common.errors import UserError
from common.files import listing
from common.json_text import parse_json
from comparison.errors import ComparisonError
from comparison.reading.item_scores import read_items
from comparison.reading.results_folder import read
from evaluation.results.record import Record
from evaluation.tasks.find import find_tasks
from evaluation.tasks.local_retrieval import retrieval
from model_loaders import LoadOptions, load, loading
from model_loaders.backbone.base_files import tensor_table
from model_loaders.create import create
from model_loaders.layouts.tensors import read_pickled_tensors
from model_loaders.saving import save
from study.cells import launch_key
from study.config import read_study_config
from study.input_keys import training_key
from study.report.study_json import trainable_parameters
from study.run_cell import first_texts
from study.study import training_rows
from tests.cases.test_foreign_results import add_model
from tests.tiny import LORA, new_model
from trainers.flags.launcher import _read_deepspeed_file
from triplets.formats import rows
from triplets.printed_lists import is_printed_list

CPU = LoadOptions(device="cpu", dtype="float32")


def edited(base: Path, copy: Path, **changes: Any) -> Path:
    """Return a copy of a base LLM whose config says something else."""
    shutil.copytree(base, copy)
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return copy


def test_a_key_that_stands_twice_is_an_error_in_every_json_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'r' stands twice"):
        parse_json('{"r": 4, "alpha": {"b": 1}, "r": 64}')
    folder = tmp_path / "tasks" / "Grades"
    folder.mkdir(parents=True)
    row = '{"sentence1": "a", "sentence2": "b", "score": 1, "score": 5}\n'
    (folder / "test.jsonl").write_text(row * 2)
    (spec,) = find_tasks(data_dir=tmp_path / "tasks")
    with pytest.raises(UserError, match=r"test\.jsonl:1: .*'score' stands twice"):
        spec.task()


def test_two_columns_of_judgements_have_one_name(tmp_path: Path) -> None:
    folder = tmp_path / "tasks" / "Topics"
    (folder / "qrels").mkdir(parents=True)
    for name in ("corpus", "queries"):
        (folder / f"{name}.jsonl").write_text('{"_id": "1", "text": "a"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\tscore\n1\t1\t1\t0\n")
    (spec,) = find_tasks(data_dir=tmp_path / "tasks")
    assert spec.local is not None
    with pytest.raises(UserError, match=r"test\.tsv:1: two columns have the name 'score'"):
        retrieval(spec.local, "test")


def test_the_baselines_of_a_study_take_the_triplets_of_its_designs(tmp_path: Path) -> None:
    rows = [
        {"query": "a", "postive": "b", "negative_1": "c", "negative_2": "d"},
        {"query": "e", "positive": ["f", "g"], "negative": "h"},
        {"query": "i", "positive": "j"},
    ]
    (tmp_path / "train.jsonl").write_text("\ufeff" + "\n\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "study.yaml").write_text(
        "output_dir: out\ndesigns: [model1]\nbase_model: base\ntrain_file: train.jsonl\ntasks: [STS12]\n"
        f"training: {{max_train_samples: 3, cache_dir: {tmp_path / 'cache'}}}\n"
    )
    config = read_study_config(tmp_path / "study.yaml", {})
    study: Any = SimpleNamespace(config=config, inputs=SimpleNamespace(train={"": str(tmp_path / "train.jsonl")}))
    assert first_texts(training_rows(study, "")) == [("a", "b", "c"), ("e", "f", "h"), ("e", "g", "h")]


@pytest.mark.parametrize("text", ["{'a', 'b'}", '{"a"}'])
def test_a_printed_set_is_no_negative(text: str) -> None:
    assert is_printed_list(text)
    assert not is_printed_list('{"a": "b"}') and not is_printed_list("{'a' is the set}")


def test_runs_of_one_seed_are_told_apart(tmp_path: Path) -> None:
    add_model(tmp_path, "org__base", 0.5)
    for score, name in ((0.6, "org__m-seed1"), (0.7, "org__m_seed_1")):
        add_model(tmp_path, name, score)
    labels = [run.label for system in read([tmp_path]).systems for run in system.runs if system.name != "base"]
    assert len(set(labels)) == 2


def test_revisions_that_begin_alike_are_systems_of_their_own(tmp_path: Path) -> None:
    add_model(tmp_path, "org__base", 0.5)
    add_model(tmp_path, "org__m", 0.6, "12345678aaa")
    add_model(tmp_path, "org__m", 0.7, "12345678bbb")
    assert [system.name for system in read([tmp_path]).systems] == ["base", "m@12345678a", "m@12345678b"]


def test_an_item_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    rows = [{"subset": "default", "split": "test", "id": number % 3, "ndcg_at_10": 0.5} for number in range(6)]
    path = tmp_path / "STS12.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    with pytest.raises(ComparisonError, match="the item '0' of 'default' stands twice"):
        read_items(path, {("test", "default")}, 0.5)


@pytest.mark.parametrize("place", [".", "x.gz"])
def test_items_of_a_cell_lie_in_a_folder_of_results(tmp_path: Path, place: str) -> None:
    results = tmp_path / "results"
    add_model(results, "org__base", 0.5)
    add_model(results, "org__other", 0.6)
    cell = tmp_path / "study" / "cells" / "model1-seed1-01234567"
    cell.mkdir(parents=True)
    entry = {"score": 0.5, "type": "STS", "items": place}
    (cell / "scores.json").write_text(json.dumps({"scores": {"STS12": entry}}))
    above = {"task_name": "STS12", "scores": {"test": [{"hf_subset": "default", "main_score": 0.99}]}}
    for folder in (cell.parent, cell.parent.parent):
        (folder / "STS12.json").write_text(json.dumps(above))
    with pytest.raises(ComparisonError, match="no path of a folder with results"):
        read([tmp_path / "study", results])


def test_an_adapter_with_a_pad_token_without_a_row_loads(base: Path, tmp_path: Path) -> None:
    """See also test_base_folders: the tokenizer is saved with its own pad token."""
    model = new_model("model1", base)
    model.tokenizer.tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model.tokenizer.check_rows(64)
    save(model, tmp_path / "adapter")
    assert load(tmp_path / "adapter", device="cpu").tokenizer.tokenizer.pad_token == "[PAD]"


@pytest.mark.parametrize("changes", [{"use_cache": "no"}, {"dtype": []}, {"num_attention_heads": "4"}, {"hidden_act": "none"}])
def test_odd_values_of_a_base_llms_config_are_errors(base: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="base"):
        create("model1", edited(base, tmp_path / "base", **changes), lora=None, options=CPU)


def test_a_tokenizer_without_its_unknown_token_is_an_error(base: Path, tmp_path: Path) -> None:
    path = edited(base, tmp_path / "base") / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["unk_token"] = "[NONE]"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="cannot read a text: WordLevel error"):
        create("model1", path.parent, lora=None, options=CPU)


def test_odd_values_of_a_tokenizers_config_are_errors(base: Path, tmp_path: Path) -> None:
    path = edited(base, tmp_path / "base") / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": ""}))
    with pytest.raises(UserError, match="cannot read a text"):
        create("model1", path.parent, lora=None, options=CPU)


def test_a_config_without_named_outputs_loads(base: Path, tmp_path: Path) -> None:
    texts = ["word1 word2"]
    plain = create("model1", base, lora=None, options=CPU).encode(texts)
    assert (
        create("model1", edited(base, tmp_path / "base", return_dict=False), lora=None, options=CPU).encode(texts) == plain
    ).all()


def test_weights_that_are_not_used_are_said(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        create("model1", edited(base, tmp_path / "base", num_hidden_layers=2), lora=None, options=CPU)
    assert "9 tensors of layers are not used" in caplog.text and "layers.2." in caplog.text


def test_weights_of_another_shape_are_named(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"embed_tokens.weight is \(64, 32\), by the config it is \(70, 32\)"):
        create("model1", edited(base, tmp_path / "base", vocab_size=70), lora=None, options=CPU)


def test_weights_that_a_config_names_and_that_are_not_there(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"names the weights other\.safetensors, which are not in"):
        create("model1", edited(base, tmp_path / "base", transformers_weights="other.safetensors"), lora=None, options=CPU)


def test_pickled_code_instead_of_weights_is_an_error(base: Path, tmp_path: Path) -> None:
    copy = edited(base, tmp_path / "base")
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({"a": print}, protocol=2))
    with pytest.raises(UserError, match="would run code: convert them to safetensors"):
        create("model1", copy, lora=None, options=CPU)


@pytest.mark.parametrize(
    "content", [b"K\x04.", b"PK\x03\x04", b"", b"\x80\x02]q.", b"K\x04\x86q\x11K\x04K\x01\x86q\x12\x89h\n)Rq\x13"]
)
def test_damaged_pickles_are_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "attn_pool.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"attn_pool\.pt is no state dict"):
        read_pickled_tensors(tmp_path / "attn_pool.pt")


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_replication": [[0, 3]] * 3000},
        {"layer_replication": "x"},
        {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}},
        {"arrow_config": {}},
        {"runtime_config": {"ephemeral_gpu_offload": True}},
    ],
)
def test_odd_values_of_a_saved_lora_config_are_errors(base: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    save(new_model("model1", base), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=r"LoRA config does not fit|layer_replication"):
        load(tmp_path, device="cpu")


def test_heads_of_tensor_files_are_read_in_one_place(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    save_file({"a": torch.ones(2, 3)}, path)
    assert tensor_table(path)[1].keys() == {"a"} and trainable_parameters(tmp_path) == 6
    for content in (b"", b"\xff" * 8, (2**40).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"[]"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="no readable safetensors file"):
            tensor_table(path)
        assert trainable_parameters(tmp_path) is None


def test_messages_say_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(tmp_path / "nowhere")
    assert listing(tmp_path) == "config.json (no file: a pipe, a device or a broken link)"


def test_the_old_import_path_of_loading(base: Path, tmp_path: Path) -> None:
    model = loading.create("model1", base, lora=LORA, device="cpu", dtype="float32")
    loading.save(model, tmp_path)
    assert loading.load_design("model1", base, tmp_path, device="cpu").design_name == "model1"


def test_files_that_a_study_names_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "lora.json"
    for content in ('{"r": 4', "[4]", '{"r": 4, "r": 8}'):
        path.write_text(content)
        with pytest.raises(UserError, match=r"lora\.json"):
            training_key({"lora_config": str(path)})
    with pytest.raises(UserError, match="lora_config is no valid JSON"):
        training_key({"lora_config": '{"r": '})
    path = tmp_path / "launch.yaml"
    path.write_text("num_processes: two\n")
    with pytest.raises(UserError, match="num_processes is 'two', not a whole number"):
        launch_key(str(path))


def test_odd_values_of_a_deepspeed_file(tmp_path: Path) -> None:
    path = tmp_path / "zero.json"
    path.write_text('{"zero_optimization": {"stage": 2, "offload_param": {"device": ["cpu"]}}, "gradient_clipping": "auto"}')
    with pytest.raises(UserError, match=r"zero\.json cannot be read"):
        _read_deepspeed_file(str(path))


@pytest.mark.parametrize("column", ["negative", "day"])
def test_values_of_a_parquet_file_that_are_none_of_their_type(tmp_path: Path, column: str) -> None:
    odd = {
        "negative": pa.StringArray.from_buffers(1, pa.py_buffer(bytes(4) + b"\1\0\0\0"), pa.py_buffer(b"\xff")),
        "day": pa.array([2**30], pa.date32()),
    }
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"query": ["a"], "positive": ["b"], column: odd[column]}), path)
    with pytest.raises(UserError, match=rf"train\.parquet:row 1 or after it: the column '{column}' holds a value"):
        list(rows(path))


@pytest.mark.parametrize(
    "changes", [{"sides": {"query": {"texts": [[]], "tokens": 9}}}, {"scores": {"default": {"test": "0.5"}}}]
)
def test_odd_figures_of_a_record_are_errors(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "recipes" / "STS12.json"
    path.parent.mkdir()
    content = {**asdict(Record()), "task": "STS12", "model": "m", "main_score": "x", **changes}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"{next(iter(changes))} cannot be read"):
        Record.read_complete(path)
    assert Record.read(tmp_path, "STS12") is None
