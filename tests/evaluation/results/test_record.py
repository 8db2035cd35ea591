from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas
import pytest

from common.errors import UserError
from evaluation.encode.encoder_facts import encoder_facts
from evaluation.encode.saved_vectors import EmbeddingFiles
from evaluation.evaluate import evaluate
from evaluation.results.outcome import Evaluation, TaskScore
from evaluation.results.record import Record, speeds
from evaluation.results.score_table import COLUMNS, WIDTH, table, write_csv
from evaluation.tasks.find import find_tasks
from evaluation.tasks.mteb_tasks import aggregates
from model_loaders.encoding import Encoded
from tests.evaluation.conftest import BagOfWords
from tests.tiny import new_model


class Counting(BagOfWords):
    """Three tokens a text; texts of one word are cut."""

    def encode_counted(self, texts, role="document", *, on_batch=None, **options):
        vectors = self.encode(texts, role, **options)
        cut = np.array([" " not in text for text in texts], dtype=bool)
        return Encoded(vectors, np.full(len(texts), 3, dtype=np.int32), cut)


def run(tmp_path, data_dir, names=(), encoder=None, **options):
    return evaluate(encoder or BagOfWords(), find_tasks(names, data_dir), tmp_path / "out", name="bow", version="1", **options)


def score(name, kind, value, **more):
    values = {"metric": "accuracy", "subsets": {"default": value}, "seconds": 1.0, "cached": False, "items": None, **more}
    return TaskScore(name=name, type=kind, score=value, **values)


def made(scores, failures=None):
    return Evaluation("ours/m", "r" * 16, Path("/somewhere"), scores=scores, failures=failures or {}, mteb_version="2")


def test_means_weigh_categories_and_tasks():
    text = table(made([score("A", "STS", 0.2), score("B", "STS", 0.4), score("C", "Retrieval", 0.9)]))
    assert re.search(r"^  STS +0\.3000 +2$", text, re.MULTILINE)
    assert re.search(r"^  mean of all categories +0\.6000 +3$", text, re.MULTILINE)
    assert re.search(r"^  mean of all tasks +0\.5000 +3$", text, re.MULTILINE)
    assert "mean of all" not in table(made([score("A", "STS", 0.2)]))


def test_a_task_that_mteb_puts_together_from_others_is_said_to_weigh_more():
    parts = [score(name, "Retrieval", 0.2) for name in sorted(aggregates()["CQADupstackRetrieval"])]
    others = [score("SciFact", "Retrieval", 0.4)]
    note = "CQADupstackRetrieval is one task in mteb's means and 12 in those above"
    assert note in table(made(parts + others)) and note in table(made(parts[1:] + others, {parts[0].name: "no data"}))
    for scores in (parts, parts[1:] + others, others):  # their mean is mteb's
        assert "in mteb's means" not in table(made(scores))


def test_what_is_to_be_known_of_the_numbers_is_said():
    counted = {"texts": 1000, "tokens": 10, "mteb_version": "2"}
    text = table(
        made(
            [
                score("A", "STS", 0.2, **counted, cut=1, again=5),
                score("B", "STS", 0.4, **counted, cut=0, cached=True),
                score("C", "STS", 0.4, texts=7, mteb_version="1.9"),
            ],
            {"D": "its data are not there"},
        )
    )
    assert re.search(r"A +0.2000  accuracy +0.1 % of texts cut\n", text)
    assert re.search(r"B +0.4000  accuracy +already there\n", text)
    assert "cut at the maximum length: 1 of 2,000 texts (<0.1 %) in 1 tasks" in text  # C does not count
    assert "5 texts were encoded a second time, as another run did not finish their shard: A 5" in text
    assert "scored by another mteb than 2: C 1.9" in text
    assert "1 of 4 tasks failed:\n  D: its data are not there" in text
    assert "cut at" not in table(made([score("C", "STS", 0.4, texts=7)]))


def test_lines_are_not_wider_than_the_table():
    reason = "word " * 60 + "/" + "p" * 90
    names = ["N" * 90, "short"]
    text = table(made([score(name, "MultilabelClassification", 0.5, metric="macro_f1") for name in names], {"F" * 60: reason}))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "/" + "p" * 90 in text  # a path stays whole
    assert re.search(r"  N+…N+ +0.5000", text)


def test_the_csv_has_its_old_columns_first(tmp_path, data_dir):
    result = run(tmp_path, data_dir, ["TinyPair", "TinyRetrieval"], Counting())
    with write_csv(result).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert COLUMNS[:6] == ["task", "type", "subset", "metric", "score", "seconds"]
    retrieval = rows[1]
    assert retrieval["texts"] == "90" and retrieval["tokens"] == "270" and retrieval["cached"] == "0"
    again = run(tmp_path, data_dir, ["TinyPair", "TinyRetrieval"], Counting())
    other = list(csv.DictReader(write_csv(again).read_text().splitlines()))[1]
    assert other == {**retrieval, "cached": "1"}  # what is known of a result stays known
    frame = pandas.read_csv(write_csv(run(tmp_path, data_dir, ["TinySTS"])))
    assert frame["tokens"].isna().all()  # not counted, not invented


def test_the_record_says_what_was_done(tmp_path, data_dir):
    result = run(tmp_path, data_dir, ["TinyRetrieval"], Counting(), prompts={"TinyRetrieval": {"query": "find {text}"}})
    record = Record.read(result.folder, "TinyRetrieval")
    query, document = record.sides["query"], record.sides["document"]
    assert query["prompt"] == "find {text}" and query["first_text"].startswith("find bread ")
    assert query["prompt_source"] == "file: TinyRetrieval" and document["prompt_source"] != query["prompt_source"]
    assert (query["texts"], query["tokens"], query["cut"], document["texts"]) == (30, 90, 0, 60)
    assert document["cut"] == 1  # the one that has a title alone
    assert record.totals().cut == 1 and record.totals().tokens == 270
    assert record.scores == {"default": {"test": pytest.approx(result.score("TinyRetrieval"), abs=1e-6)}}
    assert record.seconds >= record.seconds_encoding > 0
    assert record.seconds == pytest.approx(record.seconds_encoding + record.seconds_scoring, abs=0.002)
    assert record.libraries["mteb"] == record.mteb_version and record.libraries["python"]
    assert record.processes == 1
    assert record.origin["folder"] == str((data_dir / "TinyRetrieval").resolve())
    assert record.texts_per_second > 0 and record.tokens_per_second > 0
    assert record.encoder["similarity"] == "cosine" and record.encoder["dtype"] is None


def test_the_facts_of_a_model_are_complete(base):
    facts = encoder_facts(new_model("model5", base))
    assert facts["attention"] == "bidirectional" and facts["pooling"] == "multi_layer" and facts["dtype"] == "float32"
    assert facts["end_token"] == "</s>" and facts["pooling_sizes"]["latents"] == 6 and facts["device"] == "cpu"
    assert facts["attention_kernel"] and facts["base_model"]["weights"] and facts["recipe"]["max_length"] == 512
    assert json.loads(json.dumps(facts)) == facts | {"recipe": {**facts["recipe"], "unpooled_token_ids": []}}


def test_speed_is_of_what_was_encoded():
    side = {"texts": 10, "tokens": 100, "seconds": 2.0, "reused": 0}
    assert speeds({"a": side}) == (5.0, 50.0)
    stored = {**side, "seconds": 0.1, "reused": 5}
    assert speeds({"a": side, "b": stored}) == speeds({"a": side})
    assert speeds({"b": stored}) == (None, None)
    assert speeds({"a": {**side, "tokens": None}}) == (5.0, None)


def test_vectors_are_saved_as_they_were_scored(tmp_path, data_dir):
    encoder = BagOfWords()
    result = run(tmp_path, data_dir, ["TinyRetrieval", "TinyPair", "TinyClassification"], encoder, save_embeddings=True)
    folder = result.folder / "embeddings/TinyRetrieval"
    vectors = np.load(folder / "default.test.document.npy")
    texts = pandas.read_json(folder / "default.test.document.jsonl.gz", lines=True, dtype={"id": str})
    assert texts["id"].tolist() == sorted(f"d{i}" for i in range(60)) and texts["text"][0] == "bread"
    np.testing.assert_array_equal(vectors, encoder.encode(texts["text"].tolist()))
    assert len(np.load(folder / "default.test.query.npy")) == 30
    names = {path.name for path in (result.folder / "embeddings").rglob("*.npy")}
    assert {"default.test.text.npy", "default.test.text2.npy", "default.train.text.npy"} <= names
    index = json.loads((folder / "index.json").read_text())
    assert index["of"]["revision"] == result.revision and [one["rows"] for one in index["sides"]] == [30, 60]


def test_asked_for_later_they_are_made_then_and_once(tmp_path, data_dir):
    def calls(**options):
        encoder = BagOfWords()
        result = run(tmp_path, data_dir, ["TinyRetrieval"], encoder, **options)
        assert not result.failures
        return len(encoder.calls), result.score("TinyRetrieval")

    first, value = calls()
    assert first == 2
    assert calls(save_embeddings=tmp_path / "vectors") == (2, value)
    assert (tmp_path / "vectors/TinyRetrieval/default.test.query.npy").is_file()
    assert calls(save_embeddings=tmp_path / "vectors") == (0, value)
    assert calls() == (0, value)
    assert calls(save_embeddings=tmp_path / "vectors", prompts={"STS": "x"})[0] == 2  # another revision, another stamp


@pytest.mark.parametrize("place", ["data", "data/TinyPair", "data/TinyPair/vectors", "."])
def test_vectors_are_never_saved_among_the_data(place, tmp_path, data_dir):
    with pytest.raises(UserError, match="give another folder"):
        run(tmp_path, data_dir, ["TinyPair"], save_embeddings=tmp_path / place)
    assert (data_dir / "TinyPair/test.jsonl.gz").is_file()


def test_a_task_that_fails_leaves_no_vectors(tmp_path, data_dir, monkeypatch):
    monkeypatch.setattr(EmbeddingFiles, "finish", lambda self: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left"):
        run(tmp_path, data_dir, ["TinySTS"], save_embeddings=True)
    (folder,) = tmp_path.glob("out/results/*/*/embeddings/TinySTS")
    assert not list(folder.iterdir())
