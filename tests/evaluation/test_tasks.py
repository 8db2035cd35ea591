from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import UserError
from evaluation import paper_tasks
from evaluation.encode.prompts_file import choose, normalise, read_prompts
from evaluation.tasks.find import find_tasks, prompt_keys
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import list_folder
from evaluation.tasks.local_retrieval import retrieval
from evaluation.tasks.mteb_tasks import official_names, official_task
from tests.evaluation.conftest import write


def test_an_official_name_takes_mtebs_class_and_metadata(data_dir):
    (spec,) = find_tasks(["STS17"], data_dir)
    task = spec.task()
    assert type(task).__name__ == "STS17Crosslingual"
    assert task.hf_subsets == ["en-en"]
    assert task.metadata.revision == f"local-{list_folder(data_dir / 'STS17').hash}"
    assert official_task("STS17").metadata.revision != task.metadata.revision  # the class is left as it was


def test_task_json_names_types_and_scores_an_own_task(data_dir):
    settings = {"name": "Bakery", "type": "Retrieval", "main_score": "recall_at_10", "description": "Bread."}
    (data_dir / "TinyRetrieval/task.json").write_text(json.dumps(settings))
    (spec,) = find_tasks(["Bakery"], data_dir)
    assert spec.task().metadata.main_score == "recall_at_10"
    assert spec.task().metadata.description == "Bread."


@pytest.mark.parametrize(
    "settings, message",
    [
        ('{"typ": "sts"}', "did you mean 'type'"),
        ('{"type": "retreival"}', "did you mean 'retrieval'"),
        ("[]", "one JSON object"),
        ("{", "not valid JSON"),
        ('{"name": 3}', "must be a string"),
        ('{"name": "../../elsewhere"}', "cannot name a file"),
        ('{"name": "a/b"}', "cannot name a file"),
        ('{"name": ".."}', "cannot name a file"),
        ('{"name": "a\\u0000b"}', "cannot name a file"),
    ],
)
def test_bad_task_json(data_dir, settings, message):
    (data_dir / "TinySTS/task.json").write_text(settings)
    with pytest.raises(UserError, match=message):
        assert list_folder(data_dir / "TinySTS").schema


def test_beir_layout(tmp_path):
    folder = tmp_path / "data/Beir"
    write(folder / "corpus.jsonl", [{"_id": "1", "title": "A", "text": "b"}, {"_id": "2", "text": "c"}])
    write(folder / "queries.jsonl", [{"_id": "q", "text": "b"}, {"_id": "unjudged", "text": "c"}])
    (folder / "qrels").mkdir()
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t2\n")
    (spec,) = find_tasks((), tmp_path / "data")
    task = spec.task()
    spec.load(task)
    split = task.dataset["default"]["test"]
    assert split["queries"]["id"] == ["q"]
    assert split["relevant_docs"] == {"q": {"1": 2}}


@pytest.mark.parametrize(
    "name, lines, missing",
    [
        ("qrels.test.tsv", ["query-id\tcorpus-id\tscore", "q0\td1\t1"], "qrels.test"),
        ("qrels/test.jsonl", ['{"query-id": "q0", "corpus-id": "d1", "score": 1}'], "qrels.test"),
        ("corpus.tsv", ["id\ttext", *(f"d{number}\tbread" for number in range(60))], "corpus"),
        ("queries.tsv", ["id\ttext", *(f"q{number}\tbread" for number in range(30))], "queries"),
    ],
)
def test_no_file_is_read_that_is_no_part_of_the_hash(data_dir, name, lines, missing):
    folder = data_dir / "TinyRetrieval"
    for path in folder.glob(f"{missing}.jsonl*"):
        path.unlink()
    (folder / "qrels").mkdir()
    before = list_folder(folder).hash
    (folder / name).write_text("\n".join(lines) + "\n")
    assert list_folder(folder).hash == before
    with pytest.raises(UserError, match=f"has no {missing}.jsonl"):
        retrieval(list_folder(folder), "test")


@pytest.mark.parametrize(
    "name, rows, message",
    [
        ("qrels.test.jsonl", [{"query-id": "q0", "corpus-id": "none", "score": 1}], "lacks 1 documents that are judged: none"),
        ("qrels.test.jsonl", [{"query-id": "none", "corpus-id": "d1", "score": 1}], r"judged queries are not in .*'none'"),
        ("corpus.jsonl", [{"id": f"d{i}", "text": "a"} for i in (*range(60), 7)], "id 'd7' is not unique"),
        ("corpus.jsonl", [{"id": f"d{i}", "text": i} for i in range(60)], "text must be a text, found 0"),
        ("queries.jsonl", [{"id": f"q{i}", "text": "a"} for i in (*range(30), 7)], "id 'q7' is not unique"),
        ("queries.jsonl", [{"id": "q0", "txt": "a"}], "queries.jsonl:1: no text; the keys are id, txt"),
    ],
)
def test_bad_retrieval_rows(data_dir, name, rows, message):
    for path in (data_dir / "TinyRetrieval").glob(f"{name}*"):  # compressed or not
        path.unlink()
    write(data_dir / "TinyRetrieval" / name, rows)
    (spec,) = find_tasks(["TinyRetrieval"], data_dir)
    with pytest.raises(UserError, match=message):
        spec.load(spec.task())


def test_malformed_line_is_named(data_dir):
    path = data_dir / "TinySTS/test.jsonl"
    path.write_text(path.read_text() + "{broken\n")
    (spec,) = find_tasks(["TinySTS"], data_dir)
    with pytest.raises(UserError, match=r"test.jsonl:30: not valid JSON"):
        spec.load(spec.task())


def test_the_wrong_type_under_an_official_name(data_dir):
    (data_dir / "TinySTS").rename(data_dir / "SciFact")
    with pytest.raises(UserError, match="SciFact is of type Retrieval: rename the folder"):
        find_tasks(["SciFact"], data_dir)[0].task()


def test_one_corpus_is_not_scored_as_many_subsets(data_dir):
    (data_dir / "TinyRetrieval").rename(data_dir / "BrightRetrieval")
    with pytest.raises(UserError, match=r"BrightRetrieval has 12 subsets .*: rename the folder"):
        find_tasks(["BrightRetrieval"], data_dir)[0].task()


def test_subsets_and_the_tokenised_copy(tmp_path):
    for name in ("test", "test.mteb_tok", "en.test", "en.train", "de.train"):
        write(tmp_path / f"{name}.jsonl", [{}])
    subsets = list_folder(tmp_path).subsets("test")
    assert set(subsets) == {"default", "en"}
    assert subsets["default"]["test"].name == "test.mteb_tok.jsonl"


def test_find_tasks_says_what_is_wrong(tmp_path, data_dir):
    with pytest.raises(UserError, match="does not exist"):
        find_tasks((), tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no folder with task files"):
        find_tasks((), tmp_path / "empty")
    with pytest.raises(UserError, match="give the folder above"):
        find_tasks((), data_dir / "TinySTS")
    with pytest.raises(UserError, match="did you mean 'SciFact'"):
        find_tasks(["SciFacts"])
    with pytest.raises(UserError, match="did you mean 'TinyRetrieval'"):
        find_tasks(["TinyRetrival"], data_dir)
    with pytest.raises(UserError, match=r"not of type Retrieval: TinySTS \(STS\)"):
        find_tasks(["TinySTS"], data_dir, ["Retrieval"])
    assert [spec.name for spec in find_tasks((), data_dir, ["Retrieval"])] == ["TinyRetrieval"]


def test_a_reranking_candidate_says_nothing_by_its_place_or_id(data_dir):
    def load():
        (spec,) = find_tasks(["TinyReranking"], data_dir)
        task = spec.task()
        spec.load(task)
        return task.dataset["default"]["test"]

    split, path = load(), data_dir / "TinyReranking/test.jsonl"
    for query, candidates in split["top_ranked"].items():
        assert candidates == sorted(candidates)
        assert set(candidates) == set(split["relevant_docs"][query])
    write(path, [{**row, "positive": row["negative"], "negative": row["positive"]} for row in iter_rows(path)])
    swapped = load()
    for before, after in ((split, swapped), (swapped, split)):
        assert set(zip(*before["corpus"][:].values(), strict=True)) == set(zip(*after["corpus"][:].values(), strict=True))
    assert swapped["top_ranked"] == split["top_ranked"]
    assert swapped["relevant_docs"] != split["relevant_docs"]


def test_the_papers_tasks_are_mtebs():
    lists = (paper_tasks.STS, paper_tasks.CLASSIFICATION, paper_tasks.CLUSTERING, paper_tasks.PAIR_CLASSIFICATION)
    assert [len(names) for names in lists] == [8, 6, 11, 3]
    assert len(paper_tasks.RETRIEVAL) == 14 and len(paper_tasks.NOT_RETRIEVAL) == 33
    assert set(paper_tasks.NOT_RETRIEVAL + paper_tasks.RETRIEVAL) <= set(official_names())
    assert official_task("MSMARCO").eval_splits == ["dev"]


def test_prompt_file(tmp_path, data_dir):
    path = tmp_path / "prompts.yaml"
    path.write_text("default: 'a '\nSTS: {query: 'b '}\nTinySTS: {document: 'c '}\n")
    prompts = read_prompts(path, prompt_keys(find_tasks((), data_dir)))
    assert choose(prompts, "TinySTS", "STS", "query") == ("STS", "b ")
    assert choose(prompts, "TinySTS", "STS", "document") == ("TinySTS", "c ")
    assert choose(prompts, "SciFact", "Retrieval", "query") == ("default", "a ")
    assert choose(prompts, "SciFact", "Retrieval", "document") is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("SciFacts: a", "did you mean 'SciFact'"),
        ("STS: {qery: a}", "did you mean 'query'"),
        ("STS: 3", "must be a string"),
        ("- a", "must map"),
        ("a: [", "not valid YAML"),
    ],
)
def test_bad_prompt_file(tmp_path, text, message):
    path = tmp_path / "prompts.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompts(path, ["SciFact", "STS"])
    with pytest.raises(UserError, match="cannot be read"):
        read_prompts(tmp_path / "none.yaml", [])


def test_a_string_is_the_prompt_of_queries():
    assert normalise({"STS": "x"}) == {"STS": {"query": "x"}}


def test_labels_of_pairs_are_not_guessed(tmp_path: Path) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "label": label} for label in ("match", "no_match")]
    folder = tmp_path / "Pairs"
    folder.mkdir()
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (spec,) = find_tasks((), tmp_path)
    with pytest.raises(UserError, match="0 and 1"):
        spec.load(spec.task())


def test_qrels_need_a_header_and_whole_grades(tmp_path: Path) -> None:
    folder = tmp_path / "Words"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"id": "d", "text": "a"}\n')
    (folder / "queries.jsonl").write_text('{"id": "q", "text": "a"}\n')
    for content, told in (("q\td\t1\n", "columns"), ("query-id\tcorpus-id\tscore\nq\td\t0.7\n", "whole number"),
                          ("query-id\tcorpus-id\tscore\nq\td\tinf\n", "whole number")):  # fmt: skip
        (folder / "qrels" / "test.tsv").write_text(content)
        (spec,) = find_tasks((), tmp_path)
        with pytest.raises(UserError, match=told):
            spec.load(spec.task())


def test_a_changed_folder_is_read_anew(data_dir):
    (spec,) = find_tasks(["TinySTS"], data_dir)
    before = spec.task().metadata.revision
    assert spec.local.current() is spec.local
    path = data_dir / "TinySTS/test.jsonl"
    rows = list(iter_rows(path))
    write(path, rows[:-1])
    task = spec.task()
    spec.load(task)
    assert task.metadata.revision != before and len(task.dataset["default"]["test"]) == len(rows) - 1
