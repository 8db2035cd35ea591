from __future__ import annotations

import gzip
import json
import re
import shutil
from dataclasses import replace

import mteb
import numpy as np
import pytest

from common.errors import UserError
from evaluation.encode.counts import beginning
from evaluation.encode.mteb_encoder import ModelIdentity, MtebEncoder
from evaluation.evaluate import evaluate
from evaluation.results.item_scores import connected, read_items
from evaluation.results.score_table import table, write_csv
from evaluation.tasks.find import find_tasks
from tests.evaluation.conftest import BagOfWords, make_tasks, write
from tests.tiny import new_model


def run(tmp_path, data_dir, names=(), encoder=None, **options):
    options = {"name": "bow", "version": "1", **options}
    return evaluate(encoder or BagOfWords(), find_tasks(names, data_dir), tmp_path / "out", **options)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """The outcome of all tiny tasks; tests only read it. Its results folder lies under `out`."""
    root = tmp_path_factory.mktemp("scored")
    return run(root, make_tasks(root / "data"))


def test_every_type_is_scored_and_filed_in_mtebs_layout(scored):
    result = scored
    assert not result.failures
    assert {s.name: s.type for s in result.scores} == {
        "STS17": "STS",
        "TinyClassification": "Classification",
        "TinyClustering": "Clustering",
        "TinyPair": "PairClassification",
        "TinyReranking": "Reranking",
        "TinyRetrieval": "Retrieval",
        "TinySTS": "STS",
    }
    assert all(0.3 < s.score <= 1 for s in result.scores), result.scores
    assert result.score("TinyPair") == 1.0
    read = mteb.ResultCache(result.folder.parents[2]).load_task_result("TinyRetrieval", "ours/bow", result.revision)
    assert read.scores["test"][0]["main_score"] == pytest.approx(result.score("TinyRetrieval"), abs=1e-6)
    assert re.search(r"\n  STS  .*  2\n", table(result))
    assert write_csv(result).read_text().count("\n") == 8


def test_items_average_to_the_main_score(scored):
    result = scored
    items = {s.name: read_items(s.items) for s in result.scores}
    for name, key in (("TinyRetrieval", "ndcg_at_10"), ("TinyReranking", "map_at_1000"), ("TinyClustering", "v_measure")):
        assert np.mean([item[key] for item in items[name]]) == pytest.approx(result.score(name), abs=1e-5)
    assert [item["id"] for item in items["TinyRetrieval"]] == sorted(f"q{i}" for i in range(30))
    assert len(items["TinyClustering"]) == 10
    assert {(item["documents"], item["drawn"]) for item in items["TinyClustering"]} == {(60, 16_384)}  # drawn with replacement
    assert all("group" in item for item in items["TinyPair"])
    hits = [np.mean([p == item["gold"] for p in item["predicted"]]) for item in items["TinyClassification"]]
    assert len(items["TinyClassification"][0]["predicted"]) == 10
    assert np.mean(hits) == pytest.approx(result.score("TinyClassification"), abs=1e-5)
    assert {item["gold"] for item in items["TinyPair"]} == {0, 1}
    assert items["STS17"][0]["subset"] == "en-en"


def test_pairs_that_share_a_text_directly_or_not_have_one_group():
    groups = connected(["a", "c", "e", "g", "b"], ["b", "d", "f", "g", "d"])
    assert groups[0] == groups[1] == groups[4] and len(set(groups)) == 3


def test_results_are_reused_until_data_version_recipe_or_prompt_change(tmp_path, data_dir):
    def calls(names=("TinyRetrieval",), **options):
        encoder = BagOfWords()
        result = run(tmp_path, data_dir, names, encoder, **options)
        assert not result.failures
        return len(encoder.calls), result.score("TinyRetrieval")

    first, score = calls()
    assert first == 2
    assert calls() == (0, score)
    assert calls(batch_size=7) == (0, score)  # vectors do not depend on it
    assert calls(version="2")[0] == 2
    assert calls(recipe={"dtype": "bfloat16"})[0] == 2
    assert calls(max_length=16)[0] == 2
    assert calls(prompts={"TinyRetrieval": "bread "})[0] == 2
    assert calls()[0] == 0  # the others were kept beside it
    write(data_dir / "TinyRetrieval/queries.jsonl", [{"id": f"q{i}", "text": "comet"} for i in range(30)])
    again, other = calls()
    assert again == 2 and other != score
    assert calls() == (0, other)


def test_a_result_without_items_or_cut_short_is_computed_again(tmp_path, data_dir):
    result = run(tmp_path, data_dir, ["TinyPair"])
    result.scores[0].items.unlink()
    assert not run(tmp_path, data_dir, ["TinyPair"]).scores[0].cached
    (result.folder / "TinyPair.json").write_text('{"dataset_revision": "x", "sco')
    again = run(tmp_path, data_dir, ["TinyPair"])
    assert not again.failures and not again.scores[0].cached
    assert again.scores[0].score == result.scores[0].score


def test_a_result_that_was_edited_or_damaged_is_computed_again(tmp_path, data_dir):
    def cached() -> bool:
        again = run(tmp_path, data_dir, ["TinyPair"])
        assert not again.failures and again.scores[0].score == result.scores[0].score
        return again.scores[0].cached

    result = run(tmp_path, data_dir, ["TinyPair"])
    assert cached()
    file, items = result.folder / "TinyPair.json", result.scores[0].items
    for name in ("main_score", "cosine_ap"):
        content = json.loads(file.read_text())
        content["scores"]["test"][0][name] = 0.25
        file.write_text(json.dumps(content))
        assert not cached() and cached(), name
    items.write_bytes(items.read_bytes()[:-9])
    assert not cached() and cached()
    record = result.folder / "recipes/TinyPair.json"
    record.write_text(json.dumps({"key": json.loads(record.read_text())["key"]}))
    assert not cached() and cached()
    file.write_text("[]")
    assert not cached() and cached()
    for odd in ({"scores": [1]}, {"scores": {"default": [1]}}, {"sides": [1]}, {"encoded_again": "x"}):
        record.write_text(json.dumps(json.loads(record.read_text()) | odd))
        assert not cached() and cached()
    for damage in (lambda path: path.unlink(), lambda path: path.write_text("{")):  # mteb finds no result without it
        damage(result.folder / "model_meta.json")
        assert cached()
        assert mteb.ResultCache(tmp_path / "out").load_task_result("TinyPair", "ours/bow", result.revision)
        assert json.loads((result.folder / "model_meta.json").read_text())["revision"] == result.revision


def test_a_main_score_that_is_none_is_named(tmp_path, data_dir):
    (data_dir / "TinySTS/task.json").write_text('{"main_score": "banana"}')
    assert "no score 'banana'" in run(tmp_path, data_dir, ["TinySTS"]).failures["TinySTS"]


def test_an_older_result_stands_until_the_new_one_is_complete(tmp_path, data_dir):
    class Stops(BagOfWords):
        def encode(self, *_, **__):
            raise KeyboardInterrupt

    before = run(tmp_path, data_dir, ["TinyPair"])
    with pytest.raises(KeyboardInterrupt):  # as a kill would
        run(tmp_path, data_dir, ["TinyPair"], Stops(), save_embeddings=tmp_path / "vectors")
    rows = [{"sentence1": text, "sentence2": text, "label": int(text == "a")} for text in "abc"]
    kept = (data_dir / "TinyPair/test.jsonl.gz").read_bytes()
    (data_dir / "TinyPair/test.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, data_dir, ["TinyPair"], Stops())
    (data_dir / "TinyPair/test.jsonl.gz").write_bytes(kept)
    after = run(tmp_path, data_dir, ["TinyPair"], Stops())
    assert after.scores[0].cached and after.scores[0].score == before.scores[0].score


def test_a_result_that_lacks_a_subset_is_computed_again_and_one_with_more_is_not(tmp_path, data_dir):
    shutil.copy(data_dir / "STS17/test.en-en.jsonl", data_dir / "STS17/test.es-es.jsonl")
    (folder,) = find_tasks(["STS17"], data_dir)
    english, both = (replace(folder, subsets=names) for names in (("en-en",), ("en-en", "es-es")))

    def subsets(spec):
        (score,) = evaluate(BagOfWords(), [spec], tmp_path / "out", name="bow", version="1").scores
        return score.cached, sorted(score.subsets)

    assert subsets(english) == (False, ["en-en"])
    assert subsets(both) == (False, ["en-en", "es-es"])
    assert subsets(english) == (True, ["en-en"])


def test_results_of_other_subsets_do_not_take_each_others_place(tmp_path, data_dir):
    """As of two benchmarks that take different parts of one task."""
    shutil.copy(data_dir / "STS17/test.en-en.jsonl", data_dir / "STS17/test.es-es.jsonl")
    (folder,) = find_tasks(["STS17"], data_dir)
    done = []
    for names in (("en-en",), ("es-es",), ("en-en",), ("es-es",)):
        (score,) = evaluate(BagOfWords(), [replace(folder, subsets=names)], tmp_path / "out", name="bow", version="1").scores
        done.append((score.cached, sorted(score.subsets)))
    assert done == [(False, ["en-en"]), (False, ["es-es"]), (True, ["en-en"]), (True, ["es-es"])]


def test_a_failing_task_is_named_and_stops_no_other(tmp_path, data_dir):
    (data_dir / "TinyPair/test.jsonl.gz").unlink()
    write(data_dir / "TinyPair/test.jsonl", [{"sentence1": "a", "sentence2": "b", "label": 1}, {"sentence1": "a", "label": 1}])
    write(data_dir / "Odd/test.jsonl", [{"left": "a", "right": "b"}])
    result = run(tmp_path, data_dir, ["TinyPair", "Odd", "TinySTS"])
    assert [s.name for s in result.scores] == ["TinySTS"]
    assert "test.jsonl:2: no sentence2" in result.failures["TinyPair"]
    assert "left, right" in result.failures["Odd"]
    assert "2 of 3 tasks failed" in table(result)
    (data_dir / "TinyPair/test.jsonl").unlink()
    write(data_dir / "TinyPair/test.jsonl", [{"sentence1": "a", "sentence2": w, "label": w == "a"} for w in "abc"])
    assert not run(tmp_path, data_dir, ["TinyPair"]).failures


def test_an_encoder_that_gives_nan_fails_its_tasks(tmp_path, data_dir):
    class Broken(BagOfWords):
        def encode(self, texts, role="document", **options):
            return np.full((len(texts), 4), np.nan, dtype=np.float32)

    failures = run(tmp_path, data_dir, ["TinySTS"], Broken()).failures
    assert "not finite" in failures["TinySTS"]


def test_prompts_go_to_their_side_and_are_recorded(tmp_path, data_dir):
    encoder = BagOfWords()
    prompts = {"default": "instruct ", "TinyRetrieval": {"query": "find {text} now", "document": "doc "}, "STS": {"query": ""}}
    result = run(tmp_path, data_dir, ["TinyRetrieval", "TinySTS", "TinyPair"], encoder, prompts=prompts)
    assert [call[:2] for call in encoder.calls] == [
        ("query", "find {text} now"),
        ("document", "doc "),
        ("query", ""),
        ("query", ""),
        ("query", "instruct "),
        ("query", "instruct "),
    ]
    recipe = json.loads((result.folder / "recipes/TinyRetrieval.json").read_text())
    assert recipe["sides"]["query"]["first_text"].startswith("find bread ")
    document = recipe["sides"]["document"]
    assert (document["role"], document["prompt"], document["first_text"]) == ("document", "doc ", "doc bread")
    assert document["prompt_source"] == "file: TinyRetrieval"
    assert recipe["dataset"]["revision"].startswith("local-")


def test_a_long_first_text_is_cut_in_the_record(tmp_path, data_dir):
    rows = [{"sentence1": "a" * 999 + "é" + "b" * 5000, "sentence2": w, "label": w == "x"} for w in "xyz"]
    write(data_dir / "Long/test.jsonl", rows)
    result = run(tmp_path, data_dir, ["Long"], prompts="none")
    record = json.loads((result.folder / "recipes/Long.json").read_text())
    assert record["sides"]["text"]["first_text"] == "a" * 999 + "é … (the first 1,000 of 6,000 characters)"
    assert beginning("a" * 1000) == "a" * 1000


def test_predictions_are_kept_on_request(tmp_path, data_dir):
    result = run(tmp_path, data_dir, ["TinyRetrieval"], save_predictions=True)
    kept = json.loads((result.folder / "predictions/TinyRetrieval_predictions.json").read_text())
    assert len(kept["default"]["test"]["q0"]) == 60


def test_predictions_are_made_where_the_result_is_there(tmp_path, data_dir):
    assert not run(tmp_path, data_dir, ["TinyPair"]).scores[0].cached
    again = run(tmp_path, data_dir, ["TinyPair"], save_predictions=True)
    path = again.folder / "predictions/TinyPair_predictions.json"
    assert path.is_file() and not again.scores[0].cached
    assert run(tmp_path, data_dir, ["TinyPair"], save_predictions=True).scores[0].cached
    rows = [{"sentence1": "a", "sentence2": w, "label": w == "a"} for w in "abc"]
    write(data_dir / "TinyPair/test.jsonl.gz", rows)
    assert not run(tmp_path, data_dir, ["TinyPair"]).failures
    assert not path.exists(), "predictions of other data"


def test_folders_that_mteb_has_no_prompt_for_are_named(tmp_path, data_dir):
    lines: list[str] = []
    run(tmp_path, data_dir, ["TinyPair", "STS17"], prompts="mteb", log=lines.append)
    (line,) = (line for line in lines if line.startswith("prompts: "))
    assert "none for 1 of 2 tasks, which are none of its own (TinyPair)" in line
    lines.clear()
    run(tmp_path, data_dir, ["TinyPair", "STS17"], prompts="own", log=lines.append)
    run(tmp_path, data_dir, ["STS17"], prompts="mteb", log=lines.append)
    assert not [line for line in lines if line.startswith("prompts: ")]


def test_permuting_the_corpus_changes_nothing(tmp_path, data_dir):
    before = run(tmp_path, data_dir, ["TinyRetrieval"]).score("TinyRetrieval")
    from evaluation.tasks.local_files import iter_rows

    path = data_dir / "TinyRetrieval/corpus.jsonl.gz"
    write(path, list(iter_rows(path))[::-1])
    assert run(tmp_path, data_dir, ["TinyRetrieval"]).score("TinyRetrieval") == before


def test_name_and_version_must_be_known(tmp_path, data_dir):
    with pytest.raises(UserError, match="no version"):
        evaluate(BagOfWords(), find_tasks((), data_dir), tmp_path / "out", name="bow")


def test_official_task_without_network_says_what_to_do(tmp_path, data_dir, monkeypatch):
    from datasets.exceptions import DatasetNotFoundError

    monkeypatch.setattr("mteb.abstasks.abstask.load_dataset", lambda **_: (_ for _ in ()).throw(DatasetNotFoundError("x")))
    result = run(tmp_path, data_dir, ["BIOSSES", "TinySTS"])
    assert "put its rows into a folder of its name" in result.failures["BIOSSES"]
    assert [s.name for s in result.scores] == ["TinySTS"]


def mock_failures(encoder, **options) -> dict[str, str]:
    """Run mteb's mock tasks, which need no data; return what failed."""
    results = mteb.mock_run(MtebEncoder(encoder, ModelIdentity("stub", "1"), **options))
    assert sum(result is not None for _, result in results.items()) >= 20
    return {name: result.exception for name, result in results.items() if hasattr(result, "exception")}


def test_mtebs_mock_tasks_accept_the_wrapper():
    assert not mock_failures(BagOfWords())


@pytest.mark.slow
@pytest.mark.parametrize("design", ["model1", "model2", "model3", "model4", "model5"])
def test_mtebs_mock_tasks_accept_every_design(design, base):
    assert not mock_failures(new_model(design, base), max_length=32)


def test_stored_vectors_are_of_one_base_llm_to_the_last_byte():
    spaces = set()
    for content in "ab":
        identity = ModelIdentity("bow", "1", {"base_content": content})
        spaces.add(MtebEncoder(BagOfWords(), identity).sharded._settings("query", "", 9).space)
    assert len(spaces) == 2
