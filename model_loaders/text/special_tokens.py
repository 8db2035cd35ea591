"""The tokens before and behind every text: BOS and the end token, as tokenizer and recipe have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from common.errors import UserError
from model_loaders.text.recipe import EOS, NONE, TOKENIZER

PROBES = ("a b", "the", "0")  # texts that are tokenised with and without special tokens; the first that gives a token counts


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens of a recipe on a tokenizer.

    Attributes:
        end: the token that ends every text; empty for none.
        end_id: its id; without one, that of EOS or the pad token, which fills where a token is needed.
        front: ids before every text.
        back: ids behind every text.
    """

    end: str
    end_id: int
    front: tuple[int, ...]
    back: tuple[int, ...]


def special_tokens(tokenizer: Any, end_rule: str, bos_rule: str, end_token: str | None) -> SpecialTokens:
    """Find the special tokens.

    Args:
        tokenizer: a Hugging Face tokenizer.
        end_rule: ``Recipe.end_token``.
        bos_rule: ``Recipe.bos_token``.
        end_token: with ``eos``: stands for the tokenizer's EOS token.

    Raises:
        UserError: the tokenizer lacks a token that is asked for.
    """
    own_front, own_back = appended(tokenizer)
    if end_rule == NONE:
        filler = tokenizer.eos_token or tokenizer.pad_token
        end, end_id, back = "", 0 if filler is None else id_of(tokenizer, filler, "filler"), []
    elif end_rule == TOKENIZER and own_back:
        end, end_id, back = str(tokenizer.convert_ids_to_tokens(own_back[-1])), own_back[-1], own_back
    elif end_rule in (EOS, TOKENIZER):
        end = end_token or tokenizer.eos_token
        if end is None:
            raise UserError(
                f"the tokenizer {tokenizer.name_or_path!r} has no EOS token, which the designs pool. "
                'Set "eos_token" in its tokenizer_config.json.'
            )
        end_id = id_of(tokenizer, end, "end token")
        back = own_back if own_back[-1:] == [end_id] else [*own_back, end_id]
    else:
        end, end_id = end_rule, id_of(tokenizer, end_rule, "end token")
        back = [end_id]
    return SpecialTokens(end, end_id, tuple(front_ids(tokenizer, bos_rule, own_front)), tuple(back))


def front_ids(tokenizer: Any, bos_rule: str, own: list[int]) -> list[int]:
    """Return the ids before every text; ``own`` are those that the tokenizer puts there."""
    if bos_rule == NONE:
        return []
    return own if bos_rule == TOKENIZER else [id_of(tokenizer, bos_rule, "BOS token")]


def id_of(tokenizer: Any, token: str, what: str) -> int:
    """Return the id of a token, or raise a UserError that calls it ``what``."""
    if token not in tokenizer.get_vocab():
        raise UserError(f"the tokenizer {tokenizer.name_or_path!r} does not know the {what} {token!r}")
    return int(tokenizer.convert_tokens_to_ids(token))


def appended(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the ids that a tokenizer itself puts before and behind every text."""
    for probe in PROBES:
        with named_errors(tokenizer):
            plain: list[int] = tokenizer(probe, add_special_tokens=False)["input_ids"]
            whole: list[int] = tokenizer(probe)["input_ids"]
        start = place_of(plain, whole)
        if plain and start is not None:
            return whole[:start], whole[start + len(plain) :]
    return [], []


@contextmanager
def named_errors(tokenizer: Any) -> Iterator[None]:
    """Turn what a Hugging Face tokenizer raises at a text into a UserError that names it.

    The tokenizers library raises a plain exception, as for a lacking unknown token; odd values of a config are a TypeError.
    """
    try:
        yield
    except Exception as error:
        if type(error) not in (Exception, TypeError):
            raise
        name = tokenizer.name_or_path
        raise UserError(f"the tokenizer {name!r} cannot read a text: {error}; take the base model's own") from error


def place_of(part: Sequence[int], whole: Sequence[int]) -> int | None:
    """Return where ``part`` begins in ``whole``, or ``None``."""
    for start in range(len(whole) - len(part) + 1):
        if list(whole[start : start + len(part)]) == list(part):
            return start
    return None
