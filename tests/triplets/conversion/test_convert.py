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
from triplets.check.overlap import texts_to_leave_out
from triplets.conversion import classes, entailment, result, similarity
from triplets.conversion import store as stores
from triplets.conversion.classes import ClassRows, Draws, read_classes
from triplets.conversion.result import ConversionReport, key_of
from triplets.conversion.similarity import Limits, near, read_pairs
from triplets.conversion.store import Store
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
    pairs = read_pairs(write(tmp_path / "sts.jsonl", golden["sts"]), Store(tmp_path), ConversionReport(), set())
    pool = pairs.pool
    assert pool == golden["pool"]
    ours = [(pool[query], pool[positive]) for query, positive in pairs.directions(4.0)]
    assert ours == [(entry["query"], entry["positive"]) for entry in golden["positives"]]
    pytest.importorskip("bm25s")
    teacher = WordTeacher(pool, pool)
    for query, expected in zip(golden["queries"], golden["bm25_scores"], strict=True):
        place = pool.index(query)
        assert teacher.scores(place, range(len(pool))) == pytest.approx(expected, abs=2e-6)
        chosen = near(teacher, place, pairs.known(place), Limits())
        theirs = [pool.index(text) for text in golden["negatives"][query]]
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


def test_variants_of_a_sentence_are_that_sentence(tmp_path: Path) -> None:
    """Neither its own text nor a known positive is a negative in other cases or spaces."""
    pytest.importorskip("bm25s")
    pairs = [
        ("A dog runs.", "The dog is running.", 5),
        ("a  dog RUNS.", "Dog races dog.", 4.5),
        ("the dog is  running.", "A DOG RUNS.", 5),
        ("A dog and a cat.", "No dog is here.", 0.5),
        ("A dog sleeps.", "The dog barks.", 1),
    ]
    rows = [{"text1": first, "text2": second, "score": score} for first, second, score in pairs]
    assert main(["sts", str(write(tmp_path / "rows.jsonl", rows)), str(tmp_path / "out.jsonl")]) == 0
    texts = {key_of(text) for text in ("A dog runs.", "The dog is running.", "Dog races dog.")}
    queries = [row for row in read(tmp_path / "out.jsonl") if key_of(row["query"]) == key_of("A dog runs.")]
    assert len(queries) == 3
    for row in queries:
        assert row["negative"] and not {key_of(text) for text in row["negative"]} & texts


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
    labelled = read_classes(source, Store(folder), report, set())
    rows = list(ClassRows(labelled, Draws(by, negatives), report).rows())
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


def inputs_of(kind: str, folder: Path) -> list[str]:
    """Write rows of a kind, and return the words of the command."""
    if kind == "classes":
        rows = [{"text": f"text {k % 37}", "label": f"label {k % 5 + k // 37}"} for k in range(80)]
        return [kind, str(write(folder / "rows.jsonl", rows)), "--each_label", "9", "--negatives", "3"]
    if kind == "labels":
        rows = [{"text": f"text {k}", "label": f"label {k % 6}"} for k in range(40)]
        return ["classes", str(write(folder / "rows.jsonl", rows)), "--by", "label", "--each_label", "5"]
    if kind == "sts":
        words = ["sun moon", "sun star", "moon star sky", "sea sun", "sea moon", "sky"]
        rows = [{"text1": f"{words[k % 6]} {k // 3}", "text2": words[(k + 1) % 6], "score": k % 6} for k in range(60)]
        return [kind, str(write(folder / "rows.jsonl", rows))]
    rows = [{"premise": f"p{k // 4}", "hypothesis": f"h{k} {k % 3}", "label": k % 3} for k in range(60)]
    return [kind, str(write(folder / "rows.jsonl", rows))]


@pytest.mark.parametrize("kind", ["classes", "labels", "nli", "sts"])
def test_a_killed_command_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Killed while it reads and while it writes; what was saved is not done again, and nothing is left behind."""
    if kind == "sts":
        pytest.importorskip("bm25s")
    monkeypatch.setattr(stores, "SAVED_EVERY", 4)
    words = inputs_of(kind, tmp_path)
    assert main([*words[:2], str(tmp_path / "whole"), *words[2:]]) == 0
    said = capsys.readouterr().out
    calls = Killed(monkeypatch)
    output = tmp_path / "killed"
    for point in (10, 11, 7, 9, None):
        calls.left = point
        assert main([*words[:2], str(output), *words[2:]]) == (0 if point is None else 130)
        assert point is None or (not output.exists() and output.with_name("killed.making").is_dir())
    assert output.read_bytes() == (tmp_path / "whole").read_bytes()
    assert capsys.readouterr().out.replace(str(output), str(tmp_path / "whole")) == said
    assert not output.with_name("killed.making").exists()
    counts = [json.loads((tmp_path / f"{name}.report.json").read_text()) for name in ("whole", "killed")]
    assert {**counts[0], "output": ""} == {**counts[1], "output": ""}


class Killed:
    """Interrupts a command after so many rows read or written together; None for never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        for name in ("text_of", "dumps"):
            module = {"text_of": result, "dumps": result.json}[name]
            self.patch(monkeypatch, module, name)
        for module in (classes, entailment, similarity):
            monkeypatch.setattr(module, "text_of", result.text_of)

    def patch(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        original = getattr(module, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, counted)


def test_another_input_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SAVED_EVERY", 4)
    words = inputs_of("nli", tmp_path)
    calls = Killed(monkeypatch)
    calls.left = 30
    assert main([*words, str(tmp_path / "out")]) == 130
    calls.left = None
    rows = [{"premise": "p", "hypothesis": "h", "label": 0}]
    write(tmp_path / "rows.jsonl", rows)
    assert main([*words, str(tmp_path / "out")]) == 0
    assert read(tmp_path / "out") == [{"query": "p", "positive": "h", "negative": []}]


def test_rows_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first one is an error that says how to leave them out; left out, they are counted."""
    rows = [{"text": " ", "label": "x"}, {"text": "b"}, *({"text": f"t{k}", "label": "xy"[k % 2]} for k in range(6))]
    words = ["classes", str(write(tmp_path / "rows.jsonl", rows)), str(tmp_path / "out.jsonl")]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "rows.jsonl:1: 'text' is empty" in error and "--on_invalid_rows skip" in error
    assert main([*words, "--on_invalid_rows", "skip"]) == 0
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert report["read"] == 8 and report["written"] == 6 and list(report["left_out"].values()) == [2]


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


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("classes", ["--negatives", "-1"]),
        ("sts", ["--negatives", "-1"]),
        ("sts", ["--positive_score", "nan"]),
        ("sts", ["--negative_score", "inf"]),
    ],
)
def test_senseless_numbers(kind: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([kind, str(tmp_path / "rows.jsonl"), str(tmp_path / "out.jsonl"), *words])
    assert left.value.code == 2 and words[0] in capsys.readouterr().err


@pytest.mark.parametrize("by", ["label", "example"])
def test_classes_without_negatives(by: str, tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [{"text": f"t{number}", "label": "ab"[number % 2]} for number in range(4)])
    assert main(["classes", str(source), str(tmp_path / "out.jsonl"), "--by", by, "--negatives", "0"]) == 0
    assert [row["negative"] for row in read(tmp_path / "out.jsonl")] == [[]] * 4


def test_the_input_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "rows.jsonl", [{"text": f"t{number}", "label": "a"} for number in range(4)])
    before = source.read_bytes()
    assert main(["classes", str(source), str(source)]) == 1
    assert "would be overwritten" in capsys.readouterr().err and source.read_bytes() == before


def test_no_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows.jsonl:1: expected an object"):
        read_classes(write(tmp_path / "rows.jsonl", ["text"]), Store(tmp_path), ConversionReport(), set())


def test_scores_of_a_csv_file_are_numbers(tmp_path: Path) -> None:
    source, other = tmp_path / "sts.csv", tmp_path / "other"
    other.mkdir()
    source.write_text("sentence1,sentence2,score\na b,c d,4.8\ne f,g h,1\n")
    pairs = read_pairs(source, Store(tmp_path), ConversionReport(), set())
    assert len(list(pairs.directions(4.0))) == 2
    source.write_text("sentence1,sentence2,score\na b,c d,high\n")
    with pytest.raises(UserError, match="'score' must be a number, found 'high'"):
        read_pairs(source, Store(other), ConversionReport(), set())


def test_half_a_character_is_an_error_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"premise": "a \ud83d", "hypothesis": "b", "label": "entailment"}
    assert main(["nli", str(write(tmp_path / "nli.jsonl", [row])), str(tmp_path / "out.jsonl")]) == 1
    assert "nli.jsonl:1: 'premise' holds half of a surrogate pair" in capsys.readouterr().err


def test_an_entailed_text_is_nobodys_negative(tmp_path: Path) -> None:
    """Annotators may disagree: what one took to follow, another took to contradict."""
    labels = [("one", "entailment"), ("two", "entailment"), ("two", "contradiction"), ("three", "contradiction")]
    rows = [{"premise": "p", "hypothesis": text, "label": label} for text, label in labels]
    assert main(["nli", str(write(tmp_path / "nli.jsonl", rows)), str(tmp_path / "out.jsonl")]) == 0
    found = {row["positive"]: row["negative"] for row in read(tmp_path / "out.jsonl")}
    assert found == {"one": ["three"], "two": ["three"]}


def test_texts_in_lists_are_left_out_too(tmp_path: Path) -> None:
    """As reranking tasks and triplets have them; a document is left out alone and behind its title."""
    rows = [{"query": "q", "positive": ["alpha"], "negative": ["beta"]}, {"id": "d1", "title": "head", "text": "body"}]
    hashes = texts_to_leave_out([write(tmp_path / "tasks.jsonl", rows)])
    assert {key_of(text) for text in ("q", "alpha", "beta", "head", "body", "head body")} <= hashes
    assert key_of("d1") not in hashes


def test_a_folder_is_converted_without_its_test_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        row = {"premise": f"p {split}", "hypothesis": f"h {split}", "label": "entailment"}
        write(tmp_path / "data" / f"nli-{split}.jsonl", [row])
    assert main(["nli", str(tmp_path / "data"), str(tmp_path / "out.jsonl")]) == 0
    assert [row["query"] for row in read(tmp_path / "out.jsonl")] == ["p train"]
    assert "data files that are read: nli-train.jsonl" in capsys.readouterr().err
