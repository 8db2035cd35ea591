"""Conversion of labelled texts, scored pairs and entailment: the golden rows, and properties of every row."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from tests.tiny import SHARED
from triplets.arguments import DataArguments
from triplets.conversion.classes import by_example, by_label, read_classes
from triplets.conversion.result import ConversionReport, key_of
from triplets.conversion.similarity import directions, near, read_pairs
from triplets.convert import main
from triplets.mining.teachers import WordTeacher
from triplets.read import read_triplets

GOLDEN = SHARED / "neighbours" / "mining" / "golden_conversion.json"
WITHOUT = pytest.mark.skipif(not GOLDEN.is_file(), reason="golden conversions are not here")
CLASSES = [("a man paints", "art"), ("a boy sings", "music"), ("a girl paints", "art"), ("A man  paints", "art"),
           ("a boy sings", "sport"), ("a dog runs", "sport"), ("a cat sleeps", "rest"), ("a band plays", "music")]  # fmt: skip


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@WITHOUT
def test_scored_pairs_are_the_golden_ones(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    pairs = read_pairs(write(tmp_path / "sts.jsonl", golden["sts"]), ConversionReport(), set())
    assert pairs.pool == golden["pool"]
    ours = [(pairs.pool[query], pairs.pool[positive]) for query, positive in directions(pairs, 4.0)]
    assert ours == [(entry["query"], entry["positive"]) for entry in golden["positives"]]
    pytest.importorskip("bm25s")
    teacher = WordTeacher(pairs.pool, pairs.pool)
    scores: dict[int, dict[int, float]] = {}
    for first, second, score in pairs.pairs:
        scores.setdefault(first, {})[second] = scores.setdefault(second, {})[first] = score
    for query, expected in zip(golden["queries"], golden["bm25_scores"], strict=True):
        place = pairs.pool.index(query)
        assert teacher.scores(place, range(len(pairs.pool))) == pytest.approx(expected, abs=2e-6)
        chosen = near(teacher, place, scores.get(place, {}), (4.0, 2.5), 7)
        theirs = [pairs.pool.index(text) for text in golden["negatives"][query]]
        assert in_order(chosen, expected) == in_order(theirs, expected)


def in_order(places: list[int], scores: list[float]) -> list[int]:
    """Sort places by score, and those of equal scores (to the six digits that are stored) by place."""
    return sorted(places, key=lambda place: (-round(scores[place], 6), place))


@WITHOUT
def test_the_command_leaves_equal_sentences_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = json.loads(GOLDEN.read_text())
    pytest.importorskip("bm25s")
    source, output = write(tmp_path / "sts.jsonl", golden["sts"]), tmp_path / "out.jsonl"
    assert main(["sts", str(source), str(output)]) == 0
    rows = read(output)
    different = [entry for entry in golden["positives"] if not entry["identical"]]
    assert [(row["query"], row["positive"]) for row in rows] == [(e["query"], e["positive"]) for e in different]
    assert all(set(row["negative"]) == set(golden["negatives"][row["query"]]) for row in rows)
    same = len(golden["positives"]) - len(different)
    assert f"left out: {same} directions of pairs of equal sentences" in capsys.readouterr().out
    first = output.read_bytes()
    assert main(["sts", str(source), str(output)]) == 0 and output.read_bytes() == first


@WITHOUT
@pytest.mark.parametrize("by", ["label", "example"])
def test_golden_classes_keep_the_rules(tmp_path: Path, by: str) -> None:
    golden = json.loads(GOLDEN.read_text())["classes"]
    check_classes([(entry["text"], entry["label"]) for entry in golden], by, 3, tmp_path)


@pytest.mark.parametrize("by", ["label", "example"])
def test_classes_keep_the_rules(tmp_path: Path, by: str) -> None:
    check_classes(CLASSES, by, 2, tmp_path)


def check_classes(given: list[tuple[str, str]], by: str, negatives: int, folder: Path) -> None:
    """One row for each text and label that can have one; none of its negatives is of its classes."""
    labels: dict[int, set[str]] = {}
    for text, label in given:
        labels.setdefault(key_of(text), set()).add(label)
    source = write(folder / "classes.jsonl", [{"text": text, "label": label} for text, label in given])
    report = ConversionReport()
    classes = read_classes(source, report, set())
    make = by_label if by == "label" else by_example
    rows = list(make(classes, negatives, None, 0, report))
    sizes = Counter(label for own in labels.values() for label in own)
    lonely = 0 if by == "label" else sum(size == 1 for size in sizes.values())
    assert len(rows) == sum(sizes.values()) - lonely
    assert report.left_out.get("rows whose class has no other text", 0) == lonely
    for row in rows:
        query = key_of(str(row["query"]))
        chosen: Any = row["negative"]
        assert 0 < len(set(chosen)) == len(chosen) <= negatives
        if by == "label":
            assert row["positive"] in labels[query] and not labels[query] & set(chosen)
            continue
        positive = key_of(str(row["positive"]))
        assert positive != query and labels[positive] & labels[query]
        for text in chosen:
            assert not labels[key_of(text)] & labels[query] and key_of(text) not in (query, positive)


def test_labels_are_drawn_evenly_and_the_same_each_time(tmp_path: Path) -> None:
    rows = [{"text": f"text {number}", "label": "many" if number % 10 else "few"} for number in range(200)]
    source = write(tmp_path / "rows.jsonl", rows)
    for name in ("one", "two"):
        assert main(["classes", str(source), str(tmp_path / name), "--by", "label", "--each_label", "15"]) == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert Counter(row["positive"] for row in read(tmp_path / "one")) == {"many": 15, "few": 15}
    assert main(["classes", str(source), str(tmp_path / "three"), "--by", "label", "--each_label", "15", "--seed", "1"]) == 0
    assert (tmp_path / "three").read_bytes() != (tmp_path / "one").read_bytes()


def test_entailment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "nli.jsonl", [
        {"premise": "p", "hypothesis": "yes", "label": "entailment"}, {"premise": "p", "hypothesis": "no", "label": 2},
        {"premise": "p", "hypothesis": "maybe", "label": "neutral"}, {"premise": "q", "hypothesis": "never", "label": 2},
        {"premise": "r", "hypothesis": "R ", "label": 0}, {"premise": "s", "hypothesis": "held out", "label": 0},
        {"premise": "t", "hypothesis": "so", "label": 0}, {"premise": "t", "hypothesis": "?", "label": -1},
    ])  # fmt: skip
    test = write(tmp_path / "test.jsonl", [{"sentence": "HELD out"}])
    assert main(["nli", str(source), str(tmp_path / "out.jsonl"), "--leave_out", str(test)]) == 0
    assert read(tmp_path / "out.jsonl") == [
        {"query": "p", "positive": "yes", "negative": ["no"]}, {"query": "t", "positive": "so", "negative": []},
    ]  # fmt: skip
    said = capsys.readouterr().out
    for words in (
        "8 rows read, 2 written",
        "1 rows with a text of an evaluation set",
        "1 premises without",
        "1 hypotheses that",
    ):
        assert words in said
    rows = read_triplets(DataArguments(dataset_name=str(tmp_path / "out.jsonl")), cache_dir=str(tmp_path))
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("kind", "row", "told"),
    [
        ("classes", {"text": "a"}, "no label under"),
        ("classes", {"txt": "a", "label": "b"}, "no key 'text' or 'sentence'"),
        ("sts", {"text1": "a", "text2": "b", "score": "high"}, "'score' must be a number"),
        ("nli", {"premise": "a", "hypothesis": "b", "label": 7}, "must be entailment"),
        ("sts", {"text1": "a", "text2": "b", "score": 1}, "no row is left to write"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, row: dict[str, Any], told: str) -> None:
    source = write(tmp_path / "rows.jsonl", [row])
    assert main([kind, str(source), str(tmp_path / "out.jsonl")]) == 1
    assert told in capsys.readouterr().err and not (tmp_path / "out.jsonl").exists()


def test_no_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows.jsonl:1: expected an object"):
        read_classes(write(tmp_path / "rows.jsonl", ["text"]), ConversionReport(), set())
