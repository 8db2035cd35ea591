"""What a name of --tasks stands for."""

from __future__ import annotations

import pytest

from common.errors import UserError
from evaluation import paper_tasks
from evaluation.tasks.find import find_tasks
from evaluation.tasks.mteb_tasks import benchmarks
from tests.evaluation.conftest import write

ENGLISH = "MTEB(eng, v2)"


def test_a_benchmark_is_its_tasks_with_its_subsets_and_splits():
    specs = {spec.name: spec for spec in find_tasks([ENGLISH])}
    assert len(specs) == 41
    massive = specs["MassiveIntentClassification"].task()
    assert massive.hf_subsets == ["en"] and list(massive.eval_splits) == ["test"]
    assert specs["AmazonCounterfactualClassification"].task().hf_subsets == ["en"]
    assert specs["STS22.v2"].subsets == ("en",) and specs["SummEvalSummarization.v2"].type == "Summarization"
    german = {spec.name: spec for spec in find_tasks(["MTEB(deu, v1)"])}
    assert german["AmazonCounterfactualClassification"].task().hf_subsets == ["de"]
    assert find_tasks(["MTEB(eng)"]) == find_tasks([ENGLISH])  # mteb's other name


def test_a_folder_is_used_inside_a_benchmark_with_the_benchmarks_subsets(data_dir):
    for subset in ("en", "en-ext"):
        for split in ("train", "test"):
            path = data_dir / f"AmazonCounterfactualClassification/{subset}.{split}.jsonl"
            write(path, [{"text": f"{subset} {n}", "label": n % 2} for n in range(4)])
    inside = {spec.name: spec for spec in find_tasks([ENGLISH], data_dir)}
    spec = inside["AmazonCounterfactualClassification"]
    task = spec.task()
    assert spec.folder and task.hf_subsets == ["en"] and task.metadata.revision.startswith("local-")
    spec.load(task)
    assert list(task.dataset) == ["en"]
    alone = find_tasks([spec.name], data_dir)[0].task()
    assert sorted(alone.hf_subsets) == ["en", "en-ext"]
    assert inside["STS17"].task().hf_subsets == ["en-en"] and inside["BIOSSES"].folder is None


def test_names_are_mixed_and_a_task_is_there_once(data_dir):
    names = ["TinySTS", "paper/STS", ENGLISH, "STS12", "TinySTS", "BEIR"]
    specs = find_tasks(names, data_dir)
    found = [spec.name for spec in specs]
    assert found[:3] == ["TinySTS", "BIOSSES", "SICK-R"] and len(found) == len(set(found))
    assert "MSMARCO" in found and "CQADupstackWebmastersRetrieval" in found  # mteb's CQADupstack is its twelve forums
    assert "CQADupstackRetrieval" not in found
    assert len(find_tasks(["CQADupstackRetrieval"])) == 12
    assert {spec.type for spec in find_tasks([ENGLISH], types=["Retrieval"])} == {"Retrieval"}
    with pytest.raises(UserError, match="STS12"):
        find_tasks(["STS12"], types=["Retrieval"])


def test_the_papers_lists_by_name():
    sizes = {name: len(find_tasks([name])) for name in paper_tasks.LISTS}
    assert sizes == {
        "paper": 47,
        "paper/STS": 8,
        "paper/Classification": 6,
        "paper/Clustering": 11,
        "paper/PairClassification": 3,
        "paper/Reranking": 4,
        "paper/Summarization": 1,
        "paper/Retrieval": 14,
    }
    for name in list(sizes)[1:]:
        assert {spec.type for spec in find_tasks([name])} == {name.removeprefix("paper/")}


def test_unknown_names_name_the_nearest(data_dir):
    for wrong, right in (("MTEB(eng, v3)", "MTEB(eng, v2)"), ("paper/Sts", "paper/STS"), ("TinySTSS", "TinySTS")):
        with pytest.raises(UserError, match="did you mean") as caught:
            find_tasks([wrong], data_dir)
        assert right in str(caught.value) or wrong.startswith("MTEB")
    assert ENGLISH in benchmarks()


def test_an_unknown_name_gets_a_short_answer(data_dir):
    with pytest.raises(UserError) as caught:
        find_tasks(["MTEB(eng, v3)"], data_dir)
    message = str(caught.value)
    assert "did you mean 'MTEB(eng, v2)', 'MTEB(eng, v1)' or 'MTEB(" in message and message.count("MTEB(") == 4
    assert message.endswith("?); --list shows what there is, --list PATTERN also mteb's tasks")
    with pytest.raises(UserError, match=r"^unknown task '%%%'; --list shows"):
        find_tasks(["%%%"], data_dir)


def test_a_name_that_is_given_twice_is_taken_once_and_said(data_dir):
    lines: list[str] = []
    assert len(find_tasks(["TinySTS", "paper/STS", "TinySTS", "STS12"], data_dir, log=lines.append)) == 9
    assert lines == ["TinySTS is named 2 times; it is scored once"]


def test_two_folders_of_one_name_stop_no_other(data_dir):
    write(data_dir / "Other/test.jsonl", [{"sentence": "a", "label": 0}, {"sentence": "b", "label": 1}])
    (data_dir / "Other/task.json").write_text('{"name": "TinySTS"}')
    specs = {spec.name: spec for spec in find_tasks((), data_dir)}
    assert len(specs) == 7
    with pytest.raises(UserError, match=r"Other and .*TinySTS are both named TinySTS: rename one"):
        specs["TinySTS"].task()
    assert specs["TinyPair"].task()


def test_a_folder_without_data_is_named(data_dir):
    lines: list[str] = []
    (data_dir / ".git").mkdir()
    (data_dir / "Empty").mkdir()
    write(data_dir / "Csv/test.csv", [{"text": "a"}])
    assert len(find_tasks((), data_dir, log=lines.append)) == 7
    assert lines == [
        f"left out: {data_dir / name} has no data file (JSON lines, .gz or not); it holds {holds}"
        for name, holds in (("Csv", "test.csv"), ("Empty", "nothing"))
    ]
    assert find_tasks(["TinySTS"], data_dir, log=lines.append) and len(lines) == 2


def test_a_task_of_images_says_so():
    (spec,) = find_tasks(["CIFAR10"])
    with pytest.raises(UserError, match="CIFAR10 is a task of image"):
        spec.task()


def test_a_folder_of_a_task_that_is_scored_on_another_split(tmp_path):
    folder = tmp_path / "data/MSMARCO"
    write(folder / "corpus.jsonl", [{"_id": "d1", "title": "", "text": ""}, {"_id": "d2", "title": "A", "text": "b"}])
    write(folder / "queries.jsonl", [{"_id": "q", "text": ""}])
    (folder / "qrels").mkdir()
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td2\t3\n")
    (spec,) = find_tasks(["MSMARCO"], tmp_path / "data")
    with pytest.raises(UserError, match=r"no qrels.dev.jsonl"):
        spec.load(spec.task())
    (folder / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq\td1\t1\n")
    task = spec.task()
    spec.load(task)
    assert list(task.eval_splits) == ["dev"] and task.dataset["default"]["dev"]["relevant_docs"] == {"q": {"d1": 1}}
