"""Prompts files that say what they mean, and those that do not."""

from __future__ import annotations

import pytest

from common.errors import UserError
from evaluation.encode.prompts_file import choose, normalise, read_prompts
from evaluation.tasks.find import find_tasks, prompt_keys


def test_prompt_file(tmp_path, data_dir):
    path = tmp_path / "prompts.yaml"
    path.write_text("default: 'a '\nSTS: {query: 'b '}\nTinySTS: {document: 'c '}\n")
    prompts = read_prompts(path, prompt_keys(find_tasks((), data_dir)))
    assert choose(prompts, "TinySTS", "STS", "query") == ("STS", "b ")
    assert choose(prompts, "TinySTS", "STS", "document") == ("TinySTS", "c ")
    assert choose(prompts, "SciFact", "Retrieval", "query") == ("default", "a ")
    assert choose(prompts, "SciFact", "Retrieval", "document") is None


@pytest.mark.parametrize(
    "kind",
    ["BitextMining", "MultilabelClassification", "InstructionRetrieval", "InstructionReranking", "Regression", "Summarization"],
)
def test_every_type_of_mteb_is_a_key(tmp_path, kind):
    (tmp_path / "prompts.yaml").write_text(f"{kind}: 'a '\n")
    assert read_prompts(tmp_path / "prompts.yaml", prompt_keys([])) == {kind: {"query": "a "}}


@pytest.mark.parametrize(
    "text, message",
    [
        ("SciFacts: a", "did you mean 'SciFact'"),
        ("STS: {qery: a}", "did you mean 'query'"),
        ("STS: 3", "must be a string"),
        ("- a", "must map"),
        ("a: [", "valid YAML"),
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


@pytest.mark.parametrize(
    "text, message",
    [
        ('STS: "a: "\nSTS: "b: "\n', "stands in line 1 already"),
        ('STS: {query: "a", query: "b"}\n', "stands in line 1 already"),
        ('STS: "x {prompt} {text}"\n', r"\{text\} is the only placeholder"),
        ('STS: "x {txt}"\n', r"has \{txt\} in it"),
        ('STS: "{text} {text}"\n', "more than once"),
        ('STS: "\\ud83d"\n', "half a character"),
        ('STS: "{{text}} x"\n', "only placeholder"),
        ("STS: !!map x\n", "valid YAML"),
    ],
)
def test_prompts_that_would_not_be_what_they_say(tmp_path, text, message):
    (tmp_path / "prompts.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompts(tmp_path / "prompts.yaml", ["STS"])


def test_braces_that_are_text_stay(tmp_path):
    (tmp_path / "prompts.yaml").write_text('STS: "JSON {x} or {positive, negative}: "\n')
    assert read_prompts(tmp_path / "prompts.yaml", ["STS"])["STS"]["query"] == "JSON {x} or {positive, negative}: "
