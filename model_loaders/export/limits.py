"""The limits of a pipeline that puts a prompt before a text, tokenises, cuts on the right and pools every token."""

from __future__ import annotations

from typing import Any

from model_loaders.backbone.rope import depends_on_length, switch_length
from model_loaders.embed_model import EmbedModel
from model_loaders.text.prompts import ROLES, Role
from model_loaders.text.template import parts

# Poolings without weights that such pipelines have, by the field ``tokens`` of a design: sentence-transformers' name.
STOCK_POOLINGS = {"last": "lasttoken", "mean": "mean", "weighted_mean": "weightedmean", "max": "max", "first": "cls"}
BIDIRECTIONAL_FROM = "5.2"  # version of transformers from which is_causal of a config is read


def prefix_of(model: EmbedModel, role: Role) -> str | None:
    """Return the words before a text of ``role``; ``None`` where its prompt has words behind the text, or several texts."""
    pieces = parts(model.recipe.prompt(role), every=not model.recipe.is_plain)
    words = pieces[:-1]
    if pieces[-1].kind != "text" or any(piece.kind != "words" for piece in words):
        return None
    return "".join(piece.words for piece in words)


def refused_recipe(model: EmbedModel) -> list[str]:
    """Return the reasons why a recipe cannot be said by prefix, tokenizer and length."""
    recipe, reasons = model.recipe, []
    for role in ROLES:
        if prefix_of(model, role) is None:
            reasons.append(f"the prompt of a {role} is more than words before the text ({recipe.prompt(role)!r})")
    if recipe.pooled != "all":
        reasons.append(f"only some tokens are pooled (pooled: {recipe.pooled}), found by their characters")
    if recipe.text_edits:
        reasons.append(f"texts are edited first ({', '.join(recipe.text_edits)})")
    if recipe.pieces:
        reasons.append("prompt and text are tokenised apart (pieces)")
    if recipe.text_max_length is not None:
        reasons.append(f"the text alone is cut to {recipe.text_max_length} tokens (text_max_length)")
    if not model.tokenizer.front and not model.tokenizer.back:
        reasons.append("neither BOS nor an end token is added, so that an empty text would have no token at all")
    return reasons


def refused_model(model: EmbedModel) -> list[str]:
    """Return the reasons why weights and positions of a model cannot be exported."""
    reasons = []
    if model.base_model.quantisation:
        reasons.append(f"its base LLM is in {model.base_model.quantisation}: LoRA belongs to those rounded weights")
    for module in model.backbone.modules():
        if beyond_switch(module, max(model.recipe.length(role) for role in ROLES)):
            reasons.append(
                "its positions depend on the longest text of a batch (longrope or dynamic), and texts may be that long: a "
                "text's vector would depend on its batch. Give a shorter --max_length in training"
            )
            break
    return reasons


def beyond_switch(module: Any, length: int) -> bool:
    """Whether a rotary embedding has other frequencies for texts of ``length`` tokens than for short ones."""
    kinds = getattr(module, "rope_type", None)
    by_layer = kinds if isinstance(kinds, dict) else {None: kinds}
    return any(depends_on_length(kind) and length > switch_length(module, layer) for layer, kind in by_layer.items())


def refused_pooling(model: EmbedModel) -> list[str]:
    """Return the reasons why a pooling without weights cannot be said by its name alone."""
    if model.pooling is not None:
        return []
    reasons = []
    if model.recipe.unpooled_token_ids:
        reasons.append("some token ids are left out of the pooling (unpooled_token_ids)")
    if model.design.tokens not in STOCK_POOLINGS:
        reasons.append(f"its pooling ({model.design.tokens}) has no name in other programs")
    return reasons


def is_bidirectional(model: EmbedModel) -> bool:
    """Whether every token sees every token."""
    return model.design.attention == "bidirectional"


def unused_of(model: EmbedModel) -> list[str]:
    """Return what of a recipe only this toolkit's evaluation reads, and no exported folder holds."""
    recipe, names = model.recipe, []
    for name in ("task_prompts", "prompt_template", "task_instructions"):
        if getattr(recipe, name):
            names.append(name)
    return names
