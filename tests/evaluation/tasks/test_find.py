"""Names of --tasks and folders of --data_dir, and the tasks that they stand for."""

from __future__ import annotations

import pytest

from common.errors import UserError
from evaluation import paper_tasks
from evaluation.tasks.find import find_tasks
from evaluation.tasks.mteb_tasks import benchmarks, official_names, official_task
from tests.evaluation.conftest import write
from tests.evaluation.tasks.scoring import failure

ENGLISH = "MTEB(eng, v2)"


def test_benchmark_members():
    specs = {spec.name: spec for spec in find_tasks([ENGLISH])}
    assert len(specs) == 41
    massive = specs["MassiveIntentClassification"].task()
    assert massive.hf_subsets == ["en"] and list(massive.eval_splits) == ["test"]
    assert specs["AmazonCounterfactualClassification"].task().hf_subsets == ["en"]
    assert specs["STS22.v2"].subsets == ("en",) and specs["SummEvalSummarization.v2"].type == "Summarization"
    german = {spec.name: spec for spec in find_tasks(["MTEB(deu, v1)"])}
    assert german["AmazonCounterfactualClassification"].task().hf_subsets == ["de"]
    assert find_tasks(["MTEB(eng)"]) == find_tasks([ENGLISH])  # mteb's other name


def test_folder_inside_a_benchmark(data_dir):
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


def test_subsets_of_a_benchmark_that_a_folder_lacks_are_told(data_dir):
    told = []
    (spec,) = [spec for spec in find_tasks(["MTEB(Multilingual, v2)"], data_dir, log=told.append) if spec.name == "STS17"]
    (line,) = [line for line in told if "STS17" in line]
    assert f"has 1 of the {len(spec.subsets)} subsets that are asked for" in line and "ar-ar" in line
    assert spec.task().hf_subsets == ["en-en"]
    told.clear()
    find_tasks([ENGLISH], data_dir, log=told.append)
    find_tasks(["STS17"], data_dir, log=told.append)
    (data_dir / "STS17/task.json").write_text('{"type": "sts"}')
    (data_dir / "STS17/test.en-en.jsonl.gz").touch()  # two files of one subset: that task fails, and no other
    find_tasks(["MTEB(Multilingual, v2)"], data_dir, log=told.append)
    assert not told


def test_mixed_names_give_each_task_once(data_dir):
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


@pytest.mark.parametrize(
    "name, subsets",
    [
        ("GermanQuAD-Retrieval", ["default"]),
        ("CEDRClassification", ["default"]),
        ("BUCC.v2", ["de-en", "fr-en", "ru-en", "zh-en"]),
        ("STS17", ["en-en"]),
    ],
)
def test_a_task_without_an_english_part_stands_for_all_of_it(name, subsets):
    (spec,) = find_tasks([name])
    assert spec.task().hf_subsets == subsets


def test_a_task_of_two_benchmarks_has_the_parts_of_both(data_dir):
    lines: list[str] = []
    names = [ENGLISH, "MTEB(deu, v1)"]
    for given in (names, names[::-1]):
        specs = {spec.name: spec for spec in find_tasks(given, log=lines.append)}
        assert sorted(specs["AmazonCounterfactualClassification"].task().hf_subsets) == ["de", "en"]
    assert len(lines) == 2 and "AmazonCounterfactualClassification" in lines[0] and "is scored once" in lines[0]
    lines.clear()
    english, *_ = find_tasks(["STS17", "MTEB(Multilingual, v2)"], log=lines.append)  # named alone it is its English part
    assert english.subsets[0] == "en-en" and len(english.subsets) == 11
    (spec,) = find_tasks(["STS17", "STS17"], data_dir)
    assert spec.subsets == ()
    folder, *_ = find_tasks(["STS17", "MTEB(Multilingual, v2)"], data_dir, log=lines.append)
    assert folder.subsets == () and folder.task().hf_subsets == ["en-en"]  # of a folder all


def test_lists_of_the_paper():
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


def test_unknown_names(data_dir):
    for wrong, right in (("MTEB(eng, v3)", "MTEB(eng, v2)"), ("paper/Sts", "paper/STS"), ("TinySTSS", "TinySTS")):
        with pytest.raises(UserError, match="did you mean") as caught:
            find_tasks([wrong], data_dir)
        assert right in str(caught.value) or wrong.startswith("MTEB")
    assert ENGLISH in benchmarks()


def test_unknown_name_gets_a_short_answer(data_dir):
    with pytest.raises(UserError) as caught:
        find_tasks(["MTEB(eng, v3)"], data_dir)
    message = str(caught.value)
    assert "did you mean 'MTEB(eng, v2)', 'MTEB(eng, v1)' or 'MTEB(" in message and message.count("MTEB(") == 4
    assert message.endswith("?); --list shows what there is, --list PATTERN also mteb's tasks")
    with pytest.raises(UserError, match=r"^unknown task '%%%'; --list shows"):
        find_tasks(["%%%"], data_dir)


def test_repeated_names_are_told(data_dir):
    lines: list[str] = []
    assert len(find_tasks(["TinySTS", "paper/STS", "TinySTS", "STS12"], data_dir, log=lines.append)) == 9
    assert lines == ["TinySTS is named 2 times; it is scored once"]


def test_two_folders_of_one_name(data_dir):
    write(data_dir / "Other/test.jsonl", [{"sentence": "a", "label": 0}, {"sentence": "b", "label": 1}])
    (data_dir / "Other/task.json").write_text('{"name": "TinySTS"}')
    specs = {spec.name: spec for spec in find_tasks((), data_dir)}
    assert len(specs) == 7
    with pytest.raises(UserError, match=r"Other and .*TinySTS are both named TinySTS: rename one"):
        specs["TinySTS"].task()
    assert specs["TinyPair"].task()


def test_folders_without_data(data_dir):
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


def test_task_of_images():
    (spec,) = find_tasks(["CIFAR10"])
    with pytest.raises(UserError, match="CIFAR10 is a task of image"):
        spec.task()


def test_wrong_folders_and_types(tmp_path, data_dir):
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


def test_tasks_of_the_paper_are_mtebs():
    lists = (paper_tasks.STS, paper_tasks.CLASSIFICATION, paper_tasks.CLUSTERING, paper_tasks.PAIR_CLASSIFICATION)
    assert [len(names) for names in lists] == [8, 6, 11, 3]
    assert len(paper_tasks.RETRIEVAL) == 14 and len(paper_tasks.NOT_RETRIEVAL) == 33
    assert set(paper_tasks.NOT_RETRIEVAL + paper_tasks.RETRIEVAL) <= set(official_names())
    assert official_task("MSMARCO").eval_splits == ["dev"]


def test_empty_folders_and_files(data_dir, tmp_path):
    (data_dir / "Empty").mkdir()
    with pytest.raises(UserError, match=r"unknown task 'Empty': .*Empty has no data file .* it holds nothing"):
        find_tasks(["Empty"], data_dir)
    (data_dir / "TinySTS/test.jsonl").write_text("")
    assert "test.jsonl is empty" in failure(data_dir, "TinySTS", tmp_path)
    (data_dir / "TinyClassification/train.jsonl").unlink()
    assert "needs a train split" in failure(data_dir, "TinyClassification", tmp_path)
