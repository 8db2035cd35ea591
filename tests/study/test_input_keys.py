"""Keys of tasks hold all that decides their scores."""

from __future__ import annotations

from pathlib import Path

from common.file_hashes import file_hash
from evaluation.tasks.find import TaskSpec, find_tasks
from study.input_keys import key_of_folder, key_of_task
from tests.study.tiny_study import write_lines


def test_a_folder_that_is_read_otherwise_than_once_has_another_key(tmp_path: Path) -> None:
    rows = [{"query": "q", "positive": ["yes"], "negative": ["no"]}]
    for name in ("MindSmallReranking", "OwnReranking"):
        write_lines(tmp_path / name / "test.jsonl", rows)
    own, numbered = sorted(find_tasks(data_dir=tmp_path), key=lambda spec: spec.name, reverse=True)
    assert own.local is not None and numbered.local is not None
    assert key_of_task(own, file_hash) == key_of_folder(own.local, file_hash)
    assert key_of_task(numbered, file_hash) == f"{key_of_folder(numbered.local, file_hash)}-numbered"


def test_other_subsets_are_another_key() -> None:
    whole = TaskSpec("STS17", "STS")
    part = TaskSpec("STS17", "STS", subsets=("en-en",), splits=("test",))
    wider = TaskSpec("STS17", "STS", subsets=("en-en", "en-de"), splits=("test",))
    assert key_of_task(whole, file_hash) == "mteb:STS17"
    assert len({key_of_task(spec, file_hash) for spec in (whole, part, wider)}) == 3
