"""Hub data with configurations, rows of megabytes, and a data check that goes on behind what it cannot read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from trainers.check_data import main
from triplets import prepare, triplet
from triplets.arguments import DataArguments
from triplets.read import read_eval_triplets, read_triplets
from triplets.sources import _configs_in

GOOD = {"query": "q", "positive": "p", "negative": "n"}


def jsonl(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the data set ``org/source`` in two configurations, as if it had been downloaded."""
    import datasets

    source, cache = tmp_path / "source", tmp_path / "cache"
    header = "---\nconfigs:\n"
    for config in ("pair", "triplet"):
        jsonl(source / config / "train.jsonl", {"query": config, "positive": "p"})
        header += f"- config_name: {config}\n  data_files: {config}/train.jsonl\n"
    (source / "README.md").write_text(f"{header}---\n")
    for config in ("pair", "triplet"):
        datasets.load_dataset(str(source), config, cache_dir=str(cache))
    shutil.move(cache / "source", cache / "org___source")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return cache


def test_a_configuration_is_chosen_by_flag_and_by_key(hub_cache: Path, tmp_path: Path) -> None:
    def read(**flags: Any) -> Any:
        return read_triplets(DataArguments(**flags), cache_dir=hub_cache)

    row = read(dataset_name="org/source", dataset_config_name="pair")[0]
    assert (row["query"], row["place"]) == ("pair", "org/source, pair[train]:row 1")
    mix = tmp_path / "mix.yaml"
    mix.write_text("- name: org/source\n  config_name: triplet\n- name: org/source\n  config_name: pair\n")
    assert [row["query"] for row in read(dataset_config=str(mix))] == ["triplet", "pair"]
    data = DataArguments(
        dataset_name="d", eval_dataset="org/source", eval_dataset_config_name="pair", eval_dataset_split="train"
    )
    evaluation = read_eval_triplets(data, cache_dir=hub_cache)
    assert evaluation is not None and evaluation[0]["query"] == "pair"
    for flags, parts in (
        ({}, ["pair, triplet"]),
        ({"dataset_config_name": "tripet"}, ["pair, triplet", "'triplet'?"]),
    ):
        with pytest.raises(UserError) as raised:
            read(dataset_name="org/source", **flags)
        for part in [*parts, "--dataset_config_name", "--eval_dataset_config_name", "config_name"]:
            assert part in str(raised.value)


def test_a_configuration_of_a_file_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", GOOD)
    with pytest.raises(UserError, match="no configuration 'pair'"):
        read_triplets(DataArguments(dataset_name=str(path), dataset_config_name="pair"), cache_dir=tmp_path)
    with pytest.raises(UserError, match="config_name of an entry"):
        DataArguments(dataset_config=[{"name": "d"}], dataset_config_name="pair")
    with pytest.raises(UserError, match="give --eval_dataset"):
        DataArguments(dataset_name="d", eval_dataset_config_name="pair")


@pytest.mark.parametrize(
    "message",
    [
        "There are multiple 'org/a' configurations in the cache: b, a\nPlease specify which",
        "Couldn't find cache for org/a for config 'nope'\nAvailable configs in the cache: ['a', 'b']",
        "Config name is missing.\nPlease pick one among the available configs: ['a', 'b']\nExample of usage:\n\t`x`",
        "BuilderConfig 'nope' not found. Available: ['a', 'b']",
    ],
)
def test_configurations_in_errors_of_the_library(message: str) -> None:
    assert _configs_in(message) == ["a", "b"]
    assert _configs_in("Couldn't reach 'org/a' on the Hub (offline)") == []


def test_batches_are_cut_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    monkeypatch.setattr(prepare, "BATCH_CHARACTERS", 1000)
    path = jsonl(tmp_path / "d.jsonl", *[{**GOOD, "negative": ["n" * 300, "é" * 300]}] * 20)
    rows = read_triplets(DataArguments(dataset_name=str(path)), cache_dir=tmp_path / "c")
    assert len(rows) == 20 and rows[19]["negatives"] == ["n" * 300, "é" * 300]
    (arrow,) = (tmp_path / "c" / "triplets").glob("*.arrow")
    with pa.ipc.open_stream(str(arrow)) as stream:
        assert [batch.num_rows for batch in stream] == [2] * 10
    monkeypatch.setattr(triplet, "MOST_CHARACTERS", 500)
    with pytest.raises(UserError, match=r"d.jsonl:1: its texts have 602 characters"):
        read_triplets(DataArguments(dataset_name=str(path)), cache_dir=tmp_path / "c2")


def test_parquet_is_read_in_small_blocks_where_rows_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from triplets import formats

    monkeypatch.setattr(formats, "PARQUET_BYTES", 1000)
    table = pa.Table.from_pylist([{**GOOD, "positive": f"{number}" * 300} for number in range(9)])
    pq.write_table(table, tmp_path / "d.parquet", use_dictionary=False)
    assert formats._rows_at_once(pq.ParquetFile(tmp_path / "d.parquet").metadata) < 4
    assert len(read_triplets(DataArguments(dataset_name=str(tmp_path / "d.parquet")), cache_dir=tmp_path)) == 9


def test_the_check_goes_on_behind_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jsonl(tmp_path / "a.jsonl", GOOD, {**GOOD, "positive": ""}, GOOD)
    (tmp_path / "b.jsonl").write_text(json.dumps(GOOD) + "\n{broken\n")
    jsonl(tmp_path / "c" / "1.jsonl", GOOD).write_text("{broken\n")
    jsonl(tmp_path / "c" / "2.jsonl", GOOD, GOOD)
    jsonl(tmp_path / "d.jsonl", {**GOOD, "label": 0})
    jsonl(tmp_path / "e.jsonl", *[GOOD] * 4)
    mix, out = tmp_path / "mix.yaml", tmp_path / "report.json"
    mix.write_text("".join(f"- name: {name}\n" for name in ("a.jsonl", "b.jsonl", "c", "d.jsonl", "e.jsonl")))
    evaluation = jsonl(tmp_path / "eval.jsonl", GOOD, {"query": "q"})
    (tmp_path / "against").mkdir()
    (tmp_path / "against" / "1.jsonl").write_text("{broken\n")
    jsonl(tmp_path / "against" / "2.jsonl", {"text": "q"})
    words = ["--dataset_config", mix, "--eval_dataset", evaluation, "--against", tmp_path / "against", "--json", out]
    assert main([*map(str, words), "--cache_dir", str(tmp_path / "cache")]) == 1
    report = json.loads(out.read_text())
    rows = {entry["label"]: entry["rows"] for entry in report["data sets"]}
    assert rows == {"a": 2, "b": 1, "c": 2, "e": 4}
    assert report["data sets"][0]["rows not read"]["count"] == 1
    printed = capsys.readouterr()
    for part in (
        "a.jsonl:2: 'positive' is empty",
        "b.jsonl:2: no valid JSON",
        "1.jsonl:1: no valid JSON",
        "d.jsonl:1: ",
        "1 of 3",
        "eval.jsonl:2: ",
        "--against: ",
    ):
        assert part in printed.err
    assert [Path(file["file"]).name for file in report["overlap"]] == ["2.jsonl"]
    assert "Not read" in printed.out and "a: 1 invalid rows" in printed.out


def test_the_check_of_data_that_is_whole_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "d.jsonl", GOOD, {"query": ""})
    words = ["--dataset_name", str(path), "--cache_dir", str(tmp_path / "c"), "--on_invalid_rows", "skip"]
    assert main([*words, "--seen_after", "3epochs", "3", "1epoch", "3"]) == 0
    out = capsys.readouterr().out
    assert "(3 epochs)" in out and "(1 epoch)" in out and "1 invalid rows" in out
    assert out.count("Seen after 3 steps") == 1
