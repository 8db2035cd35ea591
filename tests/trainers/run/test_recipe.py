"""The recipe of a run: from flags, a named recipe, the adapter that it goes on from, and in the steps themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_loaders import load
from model_loaders.text.named import named_recipe
from model_loaders.text.recipe import Recipe
from tests.tiny import new_model
from tests.trainers.commands import arguments
from trainers.flags.command_line import parse
from trainers.run.banner import banner
from trainers.run.build import build_model, build_trainer
from trainers.run.recipe import as_the_run_began
from trainers.step.batch import TripletCollator
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import SingleProcessEngine
from trainers.train import main

pytestmark = pytest.mark.usefixtures("unplanned")
ROWS = [{"query": f"word{n} word2", "positive": f"word{n} " * 9, "negatives": ["word5", ""]} for n in range(6)]


def recipe_of_run(base: Path, folder: Path, *more: str) -> Recipe:
    return build_model(parse(arguments(base, folder, *more), design="model1")).recipe


def test_flags_go_before_the_named_recipe(base: Path, tmp_path: Path) -> None:
    named = named_recipe("prompteol").recipe
    recipe = recipe_of_run(base, tmp_path, "--recipe", "prompteol", "--end_token", "eos", "--max_seq_length", "40")
    assert (recipe.end_token, recipe.max_length, recipe.text_edits) == ("eos", 40, named.text_edits)
    assert recipe.query_prompt == named.query_prompt


def test_plain_flags_give_the_recipe_that_they_gave(base: Path, tmp_path: Path) -> None:
    assert recipe_of_run(base, tmp_path, "--query_prompt", "q: ").is_plain
    assert recipe_of_run(base, tmp_path, "--query_prompt", "is {text} it").truncation == "text"


def test_a_data_sets_words_behind_the_text_are_not_cut(base: Path, tmp_path: Path) -> None:
    mix = tmp_path / "mix.yaml"
    argv = arguments(base, tmp_path, "--dataset_config", str(mix))
    place = argv.index("--dataset_name")
    argv = argv[:place] + argv[place + 2 :]
    for prompt, truncation in (("is {text} it", "text"), ("q: ", None)):
        mix.write_text(json.dumps([{"name": str(tmp_path / "rows.jsonl"), "document_prompt": prompt}]))
        assert build_model(parse(argv, design="model1")).recipe.truncation == truncation
    mix.write_text(json.dumps([{"name": str(tmp_path / "rows.jsonl"), "query_prompt": "is {text} it"}]))
    assert build_model(parse([*argv, "--truncation", "right"], design="model1")).recipe.truncation == "right"


def test_an_older_run_goes_on_with_its_truncation(base: Path, tmp_path: Path) -> None:
    words = ["--query_prompt", "is {text} it", "--resume_from_checkpoint", "true"]
    config = parse(arguments(base, tmp_path, *words), design="model1")
    began = Recipe(query_prompt="is {text} it", truncation="text")
    assert as_the_run_began(began, config) == began
    record = config.record()
    (tmp_path / "out").mkdir()
    path = Path(config.training.output_dir) / "train_config.json"
    path.write_text(json.dumps(record, default=str))
    assert as_the_run_began(began, config) == began
    del record["truncation"]
    path.write_text(json.dumps(record, default=str))
    assert as_the_run_began(began, config).truncation == "right"


def test_a_run_says_its_recipe_and_the_adapter_keeps_it(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = arguments(base, tmp_path, "--recipe", "echo")
    assert main(argv, design="causal_mean") == 0
    said = capsys.readouterr().out
    assert "pieces True" in said and "pooled 'after_prompt'" in said
    model = load(tmp_path / "out", device="cpu")
    assert model.recipe.pieces and model.recipe.text_max_length == 300
    argv = arguments(base, tmp_path, "--peft_model_name_or_path", str(tmp_path / "out"), "--end_token", "none")
    continued = build_model(parse(argv, design="causal_mean"))
    assert continued.recipe.pieces and continued.tokenizer.back == () and model.tokenizer.back != ()


@pytest.mark.parametrize("chunk_tokens", [None, 40])
@pytest.mark.parametrize("name", ["echo", "gritlm", "prompteol"])
def test_a_step_pools_what_serving_pools(base: Path, name: str, chunk_tokens: int | None) -> None:
    named = named_recipe(name)
    model = new_model(named.design, base, recipe=named.recipe)
    batch = TripletCollator(model.tokenizer, named.recipe)(ROWS)
    step = ContrastiveStep.of(model, SingleProcessEngine(), chunk_tokens=chunk_tokens)
    found: Any = step.encode(model.eval(), batch).detach().numpy()
    texts = [row["positive"] for row in ROWS] + [text for row in ROWS for text in row["negatives"]]
    served = [model.encode([row["query"] for row in ROWS], "query"), model.encode(texts, "document")]
    assert np.abs(found - np.concatenate(served)).max() < 1e-5


def test_the_banner_is_silent_on_a_plain_recipe(base: Path, tmp_path: Path) -> None:
    trainer = build_trainer(parse(arguments(base, tmp_path), design="model1"))
    lines = banner(trainer).splitlines()
    assert not [line for line in lines if line.startswith("recipe")]
