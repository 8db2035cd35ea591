"""Which prompt a side of a task gets, who said so, and what that does to the results that are there."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import mteb
import pytest

from common.errors import UserError
from evaluation.encode.prompt_plan import SidePrompt, make_plan
from evaluation.evaluate import evaluate
from evaluation.tasks.find import find_tasks, prompt_keys
from model_loaders.text.prompts import in_template, render, template_named
from model_loaders.text.recipe import Recipe
from tests.evaluation.conftest import BagOfWords, write
from tests.tiny import new_model

SCIFACT, BANKING, ASKUBUNTU, BIOSSES = (
    mteb.get_task(name).metadata for name in ("SciFact", "Banking77Classification", "AskUbuntuDupQuestions", "BIOSSES")
)
CLAIM = "Given a scientific claim, retrieve documents that support or refute the claim"
INSTRUCT = "Instruct: {prompt}\nQuery: {text}"


class Adapter(BagOfWords):
    def __init__(self, **recipe) -> None:
        super().__init__()
        self.recipe = Recipe(**recipe)


def test_mtebs_prompt_goes_to_queries_and_to_texts_without_sides():
    plan = make_plan(BagOfWords())
    assert plan.choose(SCIFACT, "query") == SidePrompt(f"{CLAIM}: ", "mteb")
    assert plan.choose(SCIFACT, "document") == SidePrompt(None, "adapter")  # a mapping names its sides
    assert plan.choose(BANKING, "query").text == "Given a online banking query, find the corresponding intents: "
    assert plan.choose(ASKUBUNTU, "query").source == "mteb"
    assert plan.choose(ASKUBUNTU, "document") == SidePrompt(None, "adapter")  # a string is none for documents
    assert plan.choose(BIOSSES, "query") == SidePrompt("Retrieve semantically similar text: ", "mteb")  # that of its kind
    own = SimpleNamespace(name="Own", type="STS", prompt=None)
    assert plan.choose(own, "query") == SidePrompt(None, "adapter")
    both = SimpleNamespace(name="Own", type="Retrieval", prompt={"query": "find.", "document": "read"})
    assert plan.choose(both, "query").text == "find: "
    assert plan.choose(both, "document") == SidePrompt("read: ", "mteb")


def test_the_file_speaks_before_mteb_and_mteb_before_the_adapter():
    adapter = Adapter(query_prompt="q: ", document_prompt="d: ", task_prompts="mteb")
    plan = make_plan(adapter, {"SciFact": "mine ", "Classification": {"document": "unused "}})
    assert plan.source == "mteb"
    assert plan.choose(SCIFACT, "query") == SidePrompt("mine ", "file: SciFact")
    assert plan.choose(SCIFACT, "document") == SidePrompt("d: ", "adapter")
    assert plan.choose(BANKING, "query").source == "mteb"
    assert plan.choose(SimpleNamespace(name="Own", type="STS", prompt=None), "query") == SidePrompt("q: ", "adapter")
    assert make_plan(adapter, "none").choose(BIOSSES, "query") == SidePrompt("", "none")
    assert make_plan(adapter, "own").choose(SCIFACT, "query") == SidePrompt("q: ", "adapter")


def test_what_the_manifest_says_is_the_default():
    assert make_plan(Adapter()).source == "mteb"
    assert make_plan(Adapter(document_prompt="d: ")).source == "own"  # it was trained with prompts of its own
    assert make_plan(Adapter(document_prompt="d: "), "mteb").source == "mteb"
    assert make_plan(Adapter(task_prompts="none")).source == "none"
    plan = make_plan(Adapter(prompt_template="instruct"))
    assert render("x", plan.choose(SCIFACT, "query").text) == f"Instruct: {CLAIM}\nQuery: x"
    assert make_plan(Adapter(prompt_template="instruct"), template="").template == ""


def test_templates():
    assert template_named("instruct") == INSTRUCT
    assert render("{text} {prompt}", in_template("do {it}", INSTRUCT)) == "Instruct: do {it}\nQuery: {text} {prompt}"
    assert in_template("Find passages.") == "Find passages: "
    assert in_template("", INSTRUCT) == "" and in_template("a {text} b", INSTRUCT) == "a {text} b"
    plan = make_plan(BagOfWords(), {"STS": "Compare", "SciFact": "whole {text}"}, "instruct")
    assert plan.choose(BIOSSES, "query").text == "Instruct: Compare\nQuery: {text}"
    assert plan.choose(SCIFACT, "query").text == "whole {text}"
    assert make_plan(BagOfWords(), {"STS": "Compare"}).choose(BIOSSES, "query").text == "Compare"  # as it is
    for wrong in ("Instruct: {prompt}", "{text}", "{prompt} {text} {text}", "instruckt"):
        with pytest.raises(UserError, match="a prompt template is"):
            make_plan(BagOfWords(), template=wrong)
        with pytest.raises(UserError, match="a prompt template is"):
            Recipe(prompt_template=wrong)
    with pytest.raises(UserError, match="did you mean 'mteb'"):
        make_plan(BagOfWords(), "mtebs")
    with pytest.raises(UserError, match="task_prompts"):
        Recipe(task_prompts="all")


def test_prompts_unlike_those_of_the_training_are_said(tmp_path, data_dir):
    (data_dir / "TinyRetrieval").rename(data_dir / "SciFact")

    def line(encoder, names=("SciFact", "TinySTS"), **options) -> str:
        lines: list[str] = []
        evaluate(encoder, find_tasks(names, data_dir), tmp_path / "out", name="b", version="1", log=lines.append, **options)
        return "".join(one for one in lines if one.startswith("prompts: "))

    assert "1 of 2 tasks get prompts that the adapter was not trained with (SciFact)" in line(Adapter())
    assert "query 'q: '" in line(Adapter(query_prompt="q: "), prompts="none")
    assert not line(Adapter(query_prompt="q: "))
    assert not line(Adapter(), prompts="own") and not line(Adapter(), ["TinySTS"])
    assert not line(Adapter(task_prompts="mteb"))  # as the manifest says
    assert "TinySTS" in line(Adapter(task_prompts="mteb"), prompts={"STS": "x "})
    assert not line(BagOfWords())  # nothing is known of its training


def run(tmp_path, data_dir, **options) -> tuple[dict[str, bool], object, BagOfWords]:
    encoder = BagOfWords()
    names = ["SciFact", "TinySTS", "TinyPair"]
    result = evaluate(encoder, find_tasks(names, data_dir), tmp_path / "out", name="bow", version="1", **options)
    assert not result.failures
    return {score.name: score.cached for score in result.scores}, result, encoder


def test_a_changed_prompt_computes_its_tasks_alone(tmp_path, data_dir):
    (data_dir / "TinyRetrieval").rename(data_dir / "SciFact")
    there, first, encoder = run(tmp_path, data_dir)
    assert not any(there.values())
    assert encoder.calls[0][:2] == ("query", f"{CLAIM}: ")
    there, changed, _ = run(tmp_path, data_dir, prompts={"STS": "bread "})
    assert there == {"SciFact": True, "TinySTS": False, "TinyPair": True}
    assert changed.revision != first.revision and changed.folder != first.folder
    assert changed.score("SciFact") == first.score("SciFact")
    assert all(run(tmp_path, data_dir, prompts={"STS": "bread "})[0].values())
    assert all(run(tmp_path, data_dir)[0].values())  # the first results stayed
    there, instruct, _ = run(tmp_path, data_dir, prompt_template="instruct")
    assert there == {"SciFact": False, "TinySTS": True, "TinyPair": True}
    record = json.loads((instruct.folder / "recipes/TinyPair.json").read_text())
    assert record["revision"] == instruct.revision and record["computed_as_revision"] == first.revision
    assert record["recipe"]["prompts"]["template"] == INSTRUCT
    side = json.loads((instruct.folder / "recipes/SciFact.json").read_text())["sides"]["query"]
    assert side["prompt"] == f"Instruct: {CLAIM}\nQuery: {{text}}" and side["prompt_source"] == "mteb"
    assert side["first_text"].startswith(f"Instruct: {CLAIM}\nQuery: bread ")
    read = mteb.ResultCache(tmp_path / "out").load_task_result("TinyPair", "ours/bow", instruct.revision)
    assert read.scores["test"][0]["main_score"] == pytest.approx(first.score("TinyPair"), abs=1e-6)
    assert (instruct.folder / "items/TinyPair.jsonl.gz").is_file()


def test_other_data_are_no_reason_to_take_a_result(tmp_path, data_dir):
    (data_dir / "TinyRetrieval").rename(data_dir / "SciFact")
    run(tmp_path, data_dir)
    path = data_dir / "TinyPair/test.jsonl.gz"
    write(path, [{"sentence1": "a", "sentence2": word, "label": int(word == "a")} for word in "abc"])
    assert not run(tmp_path, data_dir, prompts={"STS": "x "})[0]["TinyPair"]


def test_new_fields_of_the_recipe_change_no_version_of_an_older_adapter(parity, monkeypatch):
    from model_loaders import load_design

    older = ["document_prompt", "max_length", "query_max_length", "query_prompt", "unpooled_token_ids"]
    assert sorted(Recipe().facts()) == older  # what versions were made of before there were others
    model = load_design("model1", parity / "base", parity / "adapters/model1", device="cpu", dtype="float32")
    version = model.version
    for field in ({"prompt_template": "instruct"}, {"task_prompts": "own"}):
        model.recipe = replace(Recipe(), **field)
        assert model.version != version
    model.recipe = Recipe()
    monkeypatch.setattr(Recipe, "facts", asdict)  # the version is made of `facts`, not of all fields
    assert model.version != version


class Lengths(Adapter):
    """Notes the maximum length of each call."""

    def encode(self, texts, role="document", *, max_length=None, **options):
        self.asked = [*getattr(self, "asked", []), (role, max_length)]
        return super().encode(texts, role, **options)


def test_texts_without_sides_may_be_as_long_as_documents(tmp_path, data_dir):
    encoder = Lengths(max_length=64, query_max_length=8)
    result = evaluate(encoder, find_tasks(["TinySTS", "TinyRetrieval"], data_dir), tmp_path / "out", name="bow", version="1")
    assert not result.failures
    assert {("query", 64), ("query", None), ("document", None)} == set(encoder.asked)
    sides = {
        task: json.loads((result.folder / f"recipes/{task}.json").read_text())["sides"] for task in ("TinySTS", "TinyRetrieval")
    }
    assert sides["TinySTS"]["text"]["max_length"] == 64
    assert sides["TinyRetrieval"]["query"]["max_length"] == 8 and sides["TinyRetrieval"]["document"]["max_length"] == 64
    short = evaluate(encoder, find_tasks(["TinySTS"], data_dir), tmp_path / "out", name="bow", version="1", max_length=16)
    assert encoder.asked[-1] == ("query", 16) and not short.failures


def test_a_prompt_that_leaves_no_room_is_refused(tmp_path, data_dir, base):
    """All queries would have one vector, and the order of ids would be the score."""
    prompts = {"TinyRetrieval": {"query": "word1 " * 20}}
    tasks = find_tasks(["TinyRetrieval"], data_dir)
    result = evaluate(new_model("model1", base), tasks, tmp_path, name="m", version="1", prompts=prompts, max_length=16)
    assert "prompt of queries (file: TinyRetrieval) leaves no room for them in 16 tokens" in result.failures["TinyRetrieval"]
    assert not evaluate(
        new_model("model1", base), tasks, tmp_path, name="m", version="1", prompts=prompts, max_length=40
    ).failures


def test_a_prompts_file_may_speak_of_all_tasks_of_the_data(tmp_path, data_dir):
    tasks = find_tasks(["TinySTS"], data_dir)
    assert "TinyPair" not in prompt_keys(tasks) and "TinyPair" in prompt_keys(tasks, data_dir)
