"""Facts of a card: licences from cards, and scores as mteb writes them for leaderboards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from mteb import TaskResult

from common.errors import UserError
from model_loaders import load
from model_loaders.export.card import ADAPTER, drawing, kept, scored
from model_loaders.export.facts.eval_files import write_eval_files
from model_loaders.export.facts.licences import licence_in, licence_of_base, licence_of_data
from model_loaders.export.facts.results import Encoder, Score, Side, read_scores
from model_loaders.export.request import Request
from model_loaders.export.run import Order, extra_facts, extra_of
from model_loaders.push.upload import copy_adapter
from model_loaders.saving import save
from model_loaders.text.recipe import Recipe
from tests.comparison.conftest import write_result
from tests.tiny import ROOT, new_model


def test_licences(tmp_path: Path) -> None:
    assert licence_of_base("", directory=ROOT / "quickstart" / "base") == "mit"
    assert licence_of_base("mistralai/no-such-model") == "" and licence_of_base("nvidia/NV-Embed-v2") != ""
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: own-terms\n---\n# x\n")
    assert licence_of_data(str(tmp_path)) == "own-terms" == licence_of_data(str(tmp_path / "triplets.jsonl"))
    for text in ("# no block", "---\n: [\n---\n", "---\n- a list\n---\n"):
        (tmp_path / "README.md").write_text(text)
        assert licence_in(tmp_path / "README.md") == ""


def test_files_are_those_of_mteb(tmp_path: Path) -> None:
    row = {"main_score": 0.51234567, "cosine_spearman": 0.51234567, "hf_subset": "default", "languages": ["eng-Latn"]}
    result = TaskResult(
        dataset_revision="r", task_name="STSBenchmark", mteb_version="2.26.24", scores={"test": [row]}, evaluation_time=1.0
    )
    expected = yaml.safe_load(result._to_hf_benchmark_result(None).to_yaml())[0]
    about = result.task.metadata.dataset
    score = Score(
        task="STSBenchmark",
        type="STS",
        subset="default",
        split="test",
        metric="cosine_spearman",
        value=row["main_score"],
        dataset=about["path"],
        revision=about["revision"],
        mteb="2.26.24",
    )
    local = Score("Mine", "STS", "default", "test", "", 0.5, "local/Mine", "local-0123")
    write_eval_files([score, local], tmp_path)
    (path,) = (tmp_path / ".eval_results").iterdir()
    (entry,) = yaml.safe_load(path.read_text())
    expected.pop("date", None)
    assert path.name == "STSBenchmark.yaml" and entry == expected


def write_scores(folder: Path, task: str, record: dict[str, Any] | None) -> Path:
    write_result(folder, task, 0.5)
    (folder / "model_meta.json").write_text("{}")
    (folder / "recipes").mkdir(exist_ok=True)
    if record is not None:
        (folder / "recipes" / f"{task}.json").write_text(json.dumps(record))
    return folder


def test_a_card_says_with_which_prompts_the_scores_were_made(base: Path, tmp_path: Path) -> None:
    model = new_model("causal_mean", base, recipe=Recipe(query_prompt="word1 ", max_length=32, query_max_length=20))
    own = {"query": {"prompt": "word1 ", "max_length": 20}, "document": {"prompt": "", "max_length": 32}}
    write_scores(tmp_path / "r", "Own", {"sides": own})
    write_scores(tmp_path / "r", "OwnText", {"sides": {"text": {"prompt": "word1 ", "max_length": 32}}})
    write_scores(tmp_path / "r", "Mteb", {"sides": own | {"query": {"prompt": "Find: {text}", "max_length": 9}}})
    write_scores(tmp_path / "r", "Old", {})
    write_scores(tmp_path / "r", "Unfinished", None)
    scores = read_scores(tmp_path / "r")
    assert scores[0].sides == (Side("query", "Find: {text}", 9), Side("document", "", 32))
    text = scored(model, scores)
    assert "- Own, OwnText: prompts and lengths above" in text and "- Old: prompts and lengths are not recorded" in text
    assert '- Mteb: query: prompt `"Find: {text}"`, at most 9 tokens; document: no prompt, at most 32 tokens' in text
    assert "Unfinished" not in text


def test_scores_of_another_model_are_refused(base: Path, tmp_path: Path) -> None:
    save(new_model("causal_mean", base), tmp_path / "adapter")
    order = Order(str(tmp_path / "adapter"), tmp_path / "out", ADAPTER, device="cpu", results=tmp_path / "r")
    for dtype in ("float32", "bfloat16"):
        model = load(tmp_path / "adapter", device="cpu", dtype=dtype)
        record = {"encoder": {"version": model.version, "dtype": dtype, "base_model": {"revision": ""}}}
        write_scores(tmp_path / "r", dtype, record)
    assert [score.encoder.dtype for score in extra_of(order).scores] == ["bfloat16", "float32"]
    write_scores(tmp_path / "r", "Earlier", {"encoder": record["encoder"] | {"version": "0123456789abcdef"}})
    with pytest.raises(UserError, match=r"another model than .*adapter is now \(Earlier"):
        extra_of(order)
    assert read_scores(tmp_path / "r")[0].encoder == Encoder("0123456789abcdef", "bfloat16")


def test_a_card_tells_words_behind_the_text_and_which_tokens_are_pooled(base: Path) -> None:
    recipe = Recipe(query_prompt="word1 {text} word2", max_length=32, pooled="text", text_edits=("strip",))
    model = new_model("causal_mean", base, recipe=recipe)
    assert '- query: prompt `"word1 {text} word2"`, at most 32 tokens' in kept(model)
    assert "- document: no prompt" in kept(model) and "- tokens that are pooled: text\n" in kept(model)
    assert "- edits of a text, before it is put into the prompt: strip" in kept(model)
    assert "prompt with the text in it" in drawing(model) and "pooled: text" in drawing(model)
    plain = new_model("causal_mean", base, recipe=replace(recipe, query_prompt="word1 ", pooled="all", text_edits=()))
    assert "pooled" not in kept(plain) and "prompt + text" in drawing(plain)


def test_the_card_of_a_checkpoint_tells_the_base_that_it_began_on(base: Path, tmp_path: Path) -> None:
    model = new_model("causal_mean", base, lora=None)
    model.backbone.requires_grad_(True)
    first = model.base_model.weights
    with_name = {"name_or_path": "owner/base", "revision": "c" * 40}
    model.base_model = replace(model.base_model, **with_name)
    next(model.backbone.parameters()).data.add_(0.1)
    save(model, tmp_path / "whole")
    request = Request(load(tmp_path / "whole", device="cpu"), ADAPTER, base_directory=tmp_path / "whole")
    copy_adapter(tmp_path / "whole", tmp_path / "sent", request, extra_facts(tmp_path / "whole", (), "", ""))
    card = (tmp_path / "sent" / "README.md").read_text()
    assert f"`owner/base` at revision {'c' * 40}" in card and f"weights {first[:16]}" in card
    assert request.model.base_model.weights[:16] not in card
