"""The one renderer: texts and their prompts become token ids and pooled positions, as the recipe says.

Training, evaluation, serving and the check of data all call ``read_texts``. A plain recipe (``Recipe.is_plain``) tokenises the
rendered string and cuts it on the right, before EOS. For any other one:

1. the text is cut to ``text_max_length`` and edited; a piece is edited and cut;
2. it is put into its prompt, and the string, or each piece of it, is tokenised without special tokens;
3. what is too long loses tokens of the text, never of the prompt;
4. BOS and the end token are put around it, and the positions that are pooled are noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import UserError
from model_loaders.text.edits import edited
from model_loaders.text.placement import Placement, Span, kept_tokens, place_pieces, place_string, pooled_places
from model_loaders.text.prompts import render
from model_loaders.text.recipe import Recipe
from model_loaders.text.template import parts
from model_loaders.text.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Tokens:
    """The tokens of some texts.

    Attributes:
        ids: of each text, special tokens included.
        pooled: the positions of each text that are pooled; ``None`` where all of all texts are.
        cut: whether each text was too long.
    """

    ids: list[list[int]]
    pooled: list[Sequence[int]] | None
    cut: list[bool]


def rendered(text: str, prompt: str, recipe: Recipe | None) -> str:
    """Return the string of a text in its prompt, as ``recipe`` renders it before anything is cut; ``None`` for a plain one."""
    if recipe is None or recipe.is_plain:
        return render(text, prompt)
    return render(edited(text, recipe.text_edits), prompt, every=True, pieces=recipe.pieces)


def read_texts(
    tokenizer: TextTokenizer, recipe: Recipe, texts: Sequence[str], prompts: Sequence[str], max_length: int
) -> Tokens:
    """Render and tokenise texts.

    Args:
        tokenizer: of the model.
        recipe: of the model.
        texts: without their prompts; empty ones are legal.
        prompts: one a text (see ``prompts.render``).
        max_length: tokens a text at most, special tokens and prompt included.

    Raises:
        UserError: a prompt leaves no room for the text, or a token is beyond the base model's embedding.
    """
    if recipe.is_plain:
        strings = [render(text, prompt) for text, prompt in zip(texts, prompts, strict=True)]
        ids, cut = tokenizer.tokenise(strings, max_length)
        check_room(tokenizer, prompts, cut, max_length)
        return Tokens(ids, None, cut)
    place = placed_pieces if recipe.pieces else placed_strings
    placements, shortened = place(tokenizer, recipe, texts, prompts)
    front, back = list(tokenizer.front), list(tokenizer.back)
    rows = Tokens([], [], [])
    assert rows.pooled is not None
    for placement, short, text, prompt in zip(placements, shortened, texts, prompts, strict=True):
        kept = kept_tokens(placement, max_length - len(front) - len(back))
        if kept is None:
            fixed = len(placement.ids) - sum(len(copy.places) for copy in placement.copies) + len(front) + len(back)
            raise UserError(no_room(prompt, fixed, max_length))
        row = [*front, *(placement.ids[index] for index in kept), *back] or [tokenizer.end_token_id]
        tokenizer.check_ids(row, text)
        rows.ids.append(row)
        rows.pooled.append(pooled_places(placement, kept, recipe.pooled, len(front), len(back)))
        rows.cut.append(short or len(kept) < len(placement.ids))
    return rows


def placed_strings(
    tokenizer: TextTokenizer, recipe: Recipe, texts: Sequence[str], prompts: Sequence[str]
) -> tuple[list[Placement], list[bool]]:
    """Tokenise each text in its prompt as one string; returns where its tokens are, and whether the text was shortened."""
    kept = texts if recipe.text_max_length is None else shorter(tokenizer, texts, recipe.text_max_length)
    strings: list[str] = []
    copies: list[list[Span]] = []
    for text, prompt in zip(kept, prompts, strict=True):
        string, own = "", []
        text = edited(text, recipe.text_edits)
        for part in parts(prompt, every=True):
            words = text if part.kind == "text" else part.words
            if part.kind == "text":
                own.append((len(string), len(string) + len(words)))
            string += words
        strings.append(string)
        copies.append(own)
    placements = []
    for (ids, offsets), own in zip(tokenizer.with_offsets(strings), copies, strict=True):
        placements.append(place_string(ids, offsets, own))
    return placements, [len(short) < len(text) for short, text in zip(kept, texts, strict=True)]


def shorter(tokenizer: TextTokenizer, texts: Sequence[str], limit: int) -> list[str]:
    """Cut each text to its first ``limit`` tokens, counted alone; a character of several tokens stays whole or goes."""
    kept = []
    for text, (ids, offsets) in zip(texts, tokenizer.with_offsets(texts), strict=True):
        kept.append(text[: min(offsets[limit - 1][1], offsets[limit][0])] if len(ids) > limit else text)
    return kept


def placed_pieces(
    tokenizer: TextTokenizer, recipe: Recipe, texts: Sequence[str], prompts: Sequence[str]
) -> tuple[list[Placement], list[bool]]:
    """Tokenise the parts of each prompt and its text one by one, as `placed_strings` does with the whole."""
    words: list[str] = []
    kinds: list[list[str]] = []
    for text, prompt in zip(texts, prompts, strict=True):
        own, text = parts(prompt, every=True, pieces=True), edited(text, recipe.text_edits)
        words += [text if part.kind == "text" else part.words for part in own]
        kinds.append([part.kind for part in own])
    tokens = iter(tokenizer.with_offsets(words))
    placements: list[Placement] = []
    shortened: list[bool] = []
    for own_kinds in kinds:
        pieces, short = [], False
        for kind in own_kinds:
            ids = next(tokens)[0]
            limit = None if kind == "words" else recipe.text_max_length
            pieces.append(ids[:limit])
            short = short or (kind == "text" and len(pieces[-1]) < len(ids))
        placements.append(place_pieces(pieces, [kind == "text" for kind in own_kinds]))
        shortened.append(short)
    return placements, shortened


def check_room(tokenizer: TextTokenizer, prompts: Sequence[str], cut: Sequence[bool], max_length: int) -> None:
    """Raise a UserError if the prompt of a text that was cut fills the maximum length: all texts would have the same vector."""
    for prompt in {prompt for prompt, short in zip(prompts, cut, strict=True) if short and prompt}:
        before = parts(prompt)[0]
        if before.kind == "words" and (tokens := tokenizer.length_of(before.words)) >= max_length:
            raise UserError(no_room(prompt, tokens, max_length))


def no_room(prompt: str, tokens: int, max_length: int) -> str:
    """Say that a prompt leaves no room for the text."""
    shown = prompt if len(prompt) <= 80 else prompt[:77] + "…"
    return (
        f"the prompt {shown!r} leaves no room for the text: with the special tokens it has {tokens} tokens, and the maximum "
        f"length is {max_length}. Give a shorter prompt or a larger maximum length."
    )
