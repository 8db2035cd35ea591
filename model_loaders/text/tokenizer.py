"""From rendered texts to token ids with their end token, and to the two masks.

Masks are made from the lengths, never from ``ids != pad``: the pad token may be EOS or unk. Padding is on the right, so
that a text's positions are the same whoever shares its batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.disk import as_os_error
from common.errors import UserError
from common.files import first_line, listing
from model_loaders.hub import OWN_CODE, needs_own_code
from model_loaders.text.batch import Batch
from model_loaders.text.recipe import EOS, TOKENIZER, Recipe
from model_loaders.text.special_tokens import named_errors, special_tokens


class TextTokenizer:
    """Tokenises texts; the last token of each is the end token, also after truncation, where the recipe has one.

    Attributes:
        tokenizer: the Hugging Face tokenizer; its own special tokens (BOS) are kept unless the recipe says otherwise.
        end_token: the token that ends every text: EOS, unless recipe or manifest name another one; empty for none.
        end_token_id: its id; without an end token that of EOS or the pad token, which stands for a text without tokens.
        filler_id: the id behind the tokens of a shorter text, which no mask shows.
        unpooled_token_ids: tokens that attention sees and pooling leaves out (see ``Recipe``).
        rows: of the base model's embedding, once they are known (``check_rows``).
        front: ids that stand before every text.
        back: ids that stand behind every text.
    """

    def __init__(
        self,
        tokenizer: Any,
        unpooled_token_ids: Sequence[int] = (),
        end_token: str | None = None,
        *,
        end_rule: str = EOS,
        bos_rule: str = TOKENIZER,
    ) -> None:
        special = special_tokens(tokenizer, end_rule, bos_rule, end_token)
        self.end_token, self.end_token_id = special.end, special.end_id
        self.front, self.back = special.front, special.back
        self.tokenizer = tokenizer
        self.unpooled_token_ids = tuple(unpooled_token_ids)
        self.rows: int | None = None
        if tokenizer.pad_token_id is None:  # only a filler: masks do not come from it
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(self.end_token_id)
        self.filler_id: int = tokenizer.pad_token_id
        # Some tokenizers end every text with EOS themselves, also after truncation; asked once, not guessed by family.
        self._appends_end = self._raw(["a b"], max_length=None)[0][0][-1:] == [self.end_token_id]

    @classmethod
    def of(cls, tokenizer: Any, recipe: Recipe, end_token: str | None = None) -> TextTokenizer:
        """Return the tokenizer of a recipe; ``end_token`` is that of a manifest."""
        rules = {"end_rule": recipe.end_token, "bos_rule": recipe.bos_token}
        return cls(tokenizer, recipe.unpooled_token_ids, end_token, **rules)

    def check_rows(self, rows: int) -> None:
        """Compare the tokens with the rows of the embedding; where the pad token is beyond them, the end token fills rows.

        The tokenizer keeps its pad token, so that an adapter that is saved with it passes here again.

        Raises:
            UserError: another token is beyond them: a text with it could not be encoded.
        """
        beyond = {}
        for token, token_id in self.tokenizer.get_vocab().items():
            if token_id >= rows:
                beyond[token_id] = token
        if self.tokenizer.pad_token_id in beyond:  # only a filler: masks do not come from it
            del beyond[self.tokenizer.pad_token_id]
            self.filler_id = self.end_token_id
        if beyond:
            token_id = min(beyond)
            raise UserError(
                f"the tokenizer {self.tokenizer.name_or_path!r} has {len(beyond)} tokens beyond the base model's embedding, "
                f"which has {rows} rows (ids 0 to {rows - 1}), such as {beyond[token_id]!r} with id {token_id}. Take the "
                "tokenizer of the base model, or resize its embedding."
            )
        self.rows = rows

    @cached_property
    def digest(self) -> str:
        """Hash of what decides the tokens: vocabulary, rules, special tokens and the end token."""
        rules = json.loads(self.tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
        about = [rules, self.end_token, self.tokenizer.bos_token]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]

    def ids(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        """Tokenise rendered texts, as `tokenise` does; returns the ids alone."""
        return self.tokenise(texts, max_length)[0]

    def tokenise(self, texts: Sequence[str], max_length: int) -> tuple[list[list[int]], list[bool]]:
        """Tokenise rendered texts.

        Args:
            texts: rendered texts; empty ones give the special tokens alone.
            max_length: tokens a text at most, special tokens included; longer texts lose their end, but not EOS.

        Returns:
            One list of ids a text, each ending with ``end_token_id``; and whether the text was longer than that.
        """
        if max_length < 2:
            raise UserError(f"the maximum length must be at least 2 tokens (a token and EOS), not {max_length}")
        if not texts:
            return [], []
        rows, cut = self._raw(texts, max_length if self._appends_end else max_length - 1)
        if not self._appends_end:
            rows = [[*row, self.end_token_id] for row in rows]
        for row, text in zip(rows, texts, strict=True):
            self.check_ids(row, text)
            if row[-1] != self.end_token_id:
                raise UserError(f"the tokens of {text[:60]!r} do not end with the pooled token {self.end_token_id}")
        return rows, cut

    def check_ids(self, row: Sequence[int], text: str) -> None:
        """Raise a UserError if a token of ``text`` is beyond the base model's embedding."""
        if self.rows is not None and max(row) >= self.rows:
            token = self.tokenizer.convert_ids_to_tokens(max(row))
            raise UserError(
                f"the text {text[:60]!r} holds the token {token!r} with id {max(row)}; the base model's embedding has "
                f"{self.rows} rows"
            )

    def length_of(self, string: str) -> int:
        """Return how many tokens a rendered string has, special tokens included."""
        return len(self._raw([string], None)[0][0]) + (not self._appends_end)

    def with_offsets(self, strings: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Tokenise strings without special tokens; returns the ids of each, and the characters from and to of each token."""
        encodings = self._without_special_tokens.encode_batch(list(strings), add_special_tokens=False)
        return [(encoding.ids, encoding.offsets) for encoding in encodings]

    @cached_property
    def _without_special_tokens(self) -> Any:
        """A copy of the tokenizer whose offsets are whole: a post-processor may take the white space out of them."""
        from tokenizers import Tokenizer

        rules = json.loads(self.tokenizer.backend_tokenizer.to_str())
        return Tokenizer.from_str(json.dumps(rules | {"post_processor": None, "truncation": None, "padding": None}))

    def pad(self, rows: Sequence[Sequence[int]], pooled: Sequence[Sequence[int]] | None = None) -> Batch:
        """Pad rows of ids on the right to the longest.

        Args:
            rows: of ids, one a text.
            pooled: the positions of each text that are pooled; ``None`` for all.

        Returns:
            int64 ids and masks ``(batch, longest)``.
        """
        longest = max(len(row) for row in rows)
        ids = torch.full((len(rows), longest), self.filler_id, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[index, : len(row)] = 1
        if pooled is None:
            return Batch(ids, mask, self.pool_mask(ids, mask))
        wanted = torch.zeros_like(mask)
        for index, places in enumerate(pooled):
            wanted[index, torch.tensor(places, dtype=torch.long)] = 1
        return Batch(ids, mask, self.pool_mask(ids, mask, wanted))

    def pool_mask(self, input_ids: Tensor, attention_mask: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Return which tokens the pooling reads: the attended ones without ``unpooled_token_ids``.

        A text of which nothing would be left keeps all its tokens, so that its vector is finite.

        Args:
            input_ids: ``(batch, tokens)``.
            attention_mask: ``(batch, tokens)``.
            wanted: ``(batch, tokens)``: those that the recipe pools; ``None`` for all attended ones.
        """
        if wanted is None and not self.unpooled_token_ids:
            return attention_mask
        mask = attention_mask if wanted is None else wanted
        if self.unpooled_token_ids:
            left_out = torch.isin(input_ids, torch.tensor(self.unpooled_token_ids, device=input_ids.device))
            mask = mask.masked_fill(left_out, 0)
        return torch.where(mask.any(dim=1, keepdim=True), mask, attention_mask)

    def save(self, directory: Path) -> None:
        """Write the tokenizer's files, without the truncation that the last texts needed.

        Raises:
            OSError: they cannot be written.
        """
        self.tokenizer.backend_tokenizer.no_truncation()
        try:
            self.tokenizer.save_pretrained(str(directory))
        except Exception as error:
            if type(error) is not Exception:
                raise
            raise as_os_error(error) from error  # a full disk is a plain Exception of the tokenizers library

    def _raw(self, texts: Sequence[str], max_length: int | None) -> tuple[list[list[int]], list[bool]]:
        """Return the tokenizer's own ids of each text, and whether it cut them to ``max_length``."""
        options = {"padding": False, "return_attention_mask": False}
        with named_errors(self.tokenizer):
            found = self.tokenizer(list(texts), truncation=max_length is not None, max_length=max_length, **options)
        rows: list[list[int]] = found["input_ids"]
        if max_length is None:
            return rows, [False] * len(rows)
        encodings = found.encodings  # None where the tokenizer is written in Python

        def is_cut(index: int) -> bool:
            if encodings is not None:
                return bool(encodings[index].overflowing)
            return len(self._raw([texts[index]], None)[0][0]) > max_length

        # Only a row of the full length can have been cut: the others are not asked.
        return rows, [len(row) >= max_length and is_cut(index) for index, row in enumerate(rows)]


def load_tokenizer(directory: Path) -> Any:
    """Load the Hugging Face tokenizer of a base model or adapter directory.

    A ``tokenizer.json`` is used as it is written: the family classes of transformers 5 rebuild parts of it (BOS is
    dropped by ``add_eos_token``, Llama's normaliser changes), which changes token ids.

    Raises:
        UserError: no tokenizer files, or unreadable ones.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    path = directory / "tokenizer.json"
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no regular file but a folder, a pipe or a device; copy the base model's there")
    kind = PreTrainedTokenizerFast if path.is_file() else AutoTokenizer
    try:
        tokenizer = kind.from_pretrained(str(directory), trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises plain Exception for a broken file
        if needs_own_code(error):
            raise UserError(f"the tokenizer in {directory} cannot be loaded: {OWN_CODE}") from error
        raise UserError(
            f"no usable tokenizer in {directory} ({first_line(error)}); copy the base model's tokenizer files there"
            f"{sentencepiece_hint(directory)}"
        ) from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise UserError(
            f"the tokenizer in {directory} ({type(tokenizer).__name__}) is written in Python and has no tokenizer.json, which "
            f"is needed here; the folder holds: {listing(directory)}{sentencepiece_hint(directory)}"
        )
    if not tokenizer.get_vocab().keys() - tokenizer.get_added_vocab().keys():
        raise UserError(
            f"the tokenizer in {directory} has special tokens alone, so that all texts would be the same; the folder holds: "
            f"{listing(directory)}; copy tokenizer.json of the base model there{sentencepiece_hint(directory)}"
        )
    # A truncation or padding section in tokenizer.json must not act behind our back.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer


def sentencepiece_hint(directory: Path) -> str:
    """Say what to do where a folder has a sentencepiece file and no ``tokenizer.json``."""
    models = sorted(path.name for path in directory.glob("*.model"))
    if not models or (directory / "tokenizer.json").is_file():
        return ""
    return (
        f". It has {models[0]} and no tokenizer.json: make one where sentencepiece is installed, with "
        "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    )
