"""A folder's settings, kind, files and hash."""

from __future__ import annotations

import json

import pytest

from common.errors import UserError
from evaluation.tasks.find import find_tasks
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import list_folder, name_fault
from tests.evaluation.conftest import write
from tests.evaluation.tasks.scoring import score


@pytest.mark.parametrize(
    "settings, message",
    [
        ('{"typ": "sts"}', "did you mean 'type'"),
        ('{"type": "retreival"}', "did you mean 'retrieval'"),
        ("[]", "expected an object"),
        ("{", "not valid JSON"),
        ('{"name": 3}', "name is 3, not a text"),
        ('{"name": "../../elsewhere"}', "cannot name a file"),
        ('{"type": ""}', "type is empty"),
        ('{"name": "a/b"}', "cannot name a file"),
        ('{"name": ".."}', "cannot name a file"),
        ('{"name": "a\\u0000b"}', "cannot name a file"),
    ],
)
def test_bad_settings(data_dir, settings, message):
    (data_dir / "TinySTS/task.json").write_text(settings)
    with pytest.raises(UserError, match=message):
        assert list_folder(data_dir / "TinySTS").schema


def test_settings_of_an_own_task(data_dir):
    settings = {"name": "Bakery", "type": "Retrieval", "main_score": "recall_at_10", "description": "Bread."}
    (data_dir / "TinyRetrieval/task.json").write_text(json.dumps(settings))
    (spec,) = find_tasks(["Bakery"], data_dir)
    assert spec.task().metadata.main_score == "recall_at_10"
    assert spec.task().metadata.description == "Bread."


def test_subsets_and_the_tokenised_copy(tmp_path):
    for name in ("test", "test.mteb_tok", "en.test", "en.train", "de.train"):
        write(tmp_path / f"{name}.jsonl", [{}])
    subsets = list_folder(tmp_path).subsets("test")
    assert set(subsets) == {"default", "en"}
    assert subsets["default"]["test"].name == "test.mteb_tok.jsonl"


def test_two_files_of_one_split(data_dir):
    path = data_dir / "TinySTS/test.jsonl"
    write(path.with_name("test.jsonl.gz"), list(iter_rows(path)))
    with pytest.raises(UserError, match=r"test.jsonl and test.jsonl.gz: which one is meant"):
        list_folder(path.parent).subsets("test")


def test_changed_folder_is_read_anew(data_dir):
    (spec,) = find_tasks(["TinySTS"], data_dir)
    before = spec.task().metadata.revision
    assert spec.local.current() is spec.local
    path = data_dir / "TinySTS/test.jsonl"
    rows = list(iter_rows(path))
    write(path, rows[:-1])
    task = spec.task()
    spec.load(task)
    assert task.metadata.revision != before and len(task.dataset["default"]["test"]) == len(rows) - 1


@pytest.mark.parametrize("name", ["model_meta", "é" * 120, ".hidden", "a\ud800"])
def test_names_that_file_no_result(data_dir, name):
    assert name_fault(name)
    (data_dir / "TinySTS/task.json").write_text(json.dumps({"name": name}))
    (spec,) = [spec for spec in find_tasks((), data_dir) if spec.folder == data_dir / "TinySTS"]
    assert "cannot name a file" in spec.fault or "mteb writes" in spec.fault
    assert not name_fault("MTEB's own (v2)")


def test_folders_that_file_no_result(data_dir):
    for name in ("model_meta", ".ipynb_checkpoints"):
        write(data_dir / name / "test.jsonl", list(iter_rows(data_dir / "TinySTS/test.jsonl")))
    specs = {spec.name: spec for spec in find_tasks((), data_dir)}
    assert "rename it, or give it a name in task.json" in specs["model_meta"].fault
    assert ".ipynb_checkpoints" not in specs  # hidden folders are not meant as tasks


def test_other_columns_change_nothing(data_dir, tmp_path):
    path = data_dir / "TinySTS/test.jsonl"
    before = score(data_dir, "TinySTS", tmp_path)
    write(path, [{**row, "label": [True, 3, [], "x"][n % 4]} if n % 3 else row for n, row in enumerate(iter_rows(path))])
    assert score(data_dir, "TinySTS", tmp_path) == before
