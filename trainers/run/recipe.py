"""The recipe of a run: what its flags, a named recipe and the adapter that it goes on from say about how texts are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import read_json
from model_loaders.embed_model import EmbedModel
from model_loaders.text.named import named_recipe
from model_loaders.text.recipe import Recipe
from model_loaders.text.template import parts
from model_loaders.text.tokenizer import TextTokenizer
from trainers.checkpoints.run_files import CONFIG_FILE
from trainers.flags.arguments import ModelArguments
from triplets.arguments import DataArguments, data_sets

if TYPE_CHECKING:
    from trainers.flags.train_config import TrainConfig

# Flags that say how texts are read, and their fields in a recipe.
RECIPE_FIELDS = {
    "query_prompt": "query_prompt",
    "document_prompt": "document_prompt",
    "max_seq_length": "max_length",
    "query_max_length": "query_max_length",
    "task_prompts": "task_prompts",
    "prompt_template": "prompt_template",
    "end_token": "end_token",
    "pooled": "pooled",
    "truncation": "truncation",
}
LENGTHS = ("max_seq_length", "query_max_length")  # always the run's: --recipe says nothing about them
PROMPTS = ("query_prompt", "document_prompt")


def recipe_of(model: ModelArguments, data: DataArguments, flags: Collection[str]) -> Recipe:
    """Return the recipe of a run that begins a new adapter.

    Args:
        model: flags of prompts, end token and pooled tokens, and the named recipe that they change.
        data: flags of lengths.
        flags: names of the flags that are set.
    """
    named = Recipe() if model.recipe is None else named_recipe(model.recipe).recipe
    given = [*LENGTHS, *(flag for flag in RECIPE_FIELDS if flag in flags or model.recipe is None)]
    return changed(named, model, data, given)


def continued_recipe(adapter: Recipe, model: ModelArguments, data: DataArguments, flags: Collection[str]) -> Recipe:
    """Return the adapter's recipe, changed where the flags of this run are set.

    Args:
        adapter: recipe of the adapter that the run goes on from.
        model: flags of this run, with their defaults.
        data: flags of this run, with their defaults.
        flags: names of the flags that are set.
    """
    if "recipe" in flags and model.recipe is not None:
        named = named_recipe(model.recipe).recipe
        adapter = dataclasses.replace(named, max_length=adapter.max_length, query_max_length=adapter.query_max_length)
    return changed(adapter, model, data, [flag for flag in RECIPE_FIELDS if flag in flags])


def changed(recipe: Recipe, model: ModelArguments, data: DataArguments, flags: Collection[str]) -> Recipe:
    """Return a recipe with the values of some flags; a prompt with words behind the text is never cut, unless they say so.

    That holds for the prompts of single data sets too.
    """
    values: dict[str, Any] = {}
    for flag in flags:
        value = getattr(data if flag in LENGTHS else model, flag)
        if value is not None or flag in LENGTHS:
            values[RECIPE_FIELDS[flag]] = value
    prompts = [values.get(name, "") for name in (*PROMPTS, "prompt_template")]
    prompts += [getattr(data_set, name) or "" for data_set in data_sets(data) for name in PROMPTS]
    if "truncation" not in values and any(has_words_behind(prompt) for prompt in prompts):
        values["truncation"] = "text"
    return dataclasses.replace(recipe, **values)


def has_words_behind(prompt: str) -> bool:
    """Whether a prompt or a template has words behind its text."""
    return bool(prompt) and parts(prompt)[-1].kind == "words"


def as_the_run_began(recipe: Recipe, config: TrainConfig) -> Recipe:
    """Return the recipe of a run that goes on; one that an older version began cuts every prompt on the right."""
    resume = config.training.resume_from_checkpoint
    if not resume or config.model.truncation is not None:
        return recipe
    folder = Path(resume).parent if isinstance(resume, str) else Path(config.training.output_dir)
    if not (folder / CONFIG_FILE).is_file() or "truncation" in read_json(folder / CONFIG_FILE):
        return recipe
    older = dataclasses.replace(recipe, truncation=None)
    return dataclasses.replace(older, truncation="right") if older.is_plain else recipe


def take_recipe(model: EmbedModel, recipe: Recipe) -> None:
    """Give a loaded model another recipe, and the tokenizer that goes with it."""
    before, model.recipe = model.recipe, recipe
    if (before.end_token, before.bos_token) == (recipe.end_token, recipe.bos_token):
        return
    rows = model.tokenizer.rows
    model.tokenizer = TextTokenizer.of(model.tokenizer.tokenizer, recipe)
    if rows is not None:
        model.tokenizer.check_rows(rows)
