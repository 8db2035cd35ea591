"""Texts joined and cut into rows of one length, as a language model reads them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from common.errors import UserError
from model_loaders.text.tokenizer import TextTokenizer
from triplets.batch_plan import repeated
from triplets.dataset import LoadedDataSet, TripletRows
from triplets.read import rows_by_weight

AT_ONCE = 1000  # rows of the data that are tokenised together


class PackedTokens:
    """The tokens of a data set as rows of one length, in memory; read as an Arrow data set is.

    Attributes:
        tokens: int32 ``(rows, length)``.
        starts: bool ``(rows, length)``: where a text begins.
        first: number of the first row among those of all data sets.
    """

    def __init__(self, tokens: np.ndarray, starts: np.ndarray, first: int = 0) -> None:
        self.tokens, self.starts, self.first = tokens, starts, first

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, indices: Sequence[int]) -> dict[str, list[Any]]:
        """Return columns of some rows: ``ids``, ``starts`` and the ``number`` of each."""
        numbers = [self.first + index for index in indices]
        return {"ids": list(self.tokens[indices]), "starts": list(self.starts[indices]), "number": numbers}


def packed_rows(rows: TripletRows, tokenizer: TextTokenizer, length: int) -> TripletRows:
    """Return the texts of all data sets as rows of ``length`` tokens; each data set keeps its part of an epoch.

    Weights divide an epoch's packed rows, so that long texts have no more of it than short ones. Otherwise a data set's rows
    are repeated as often as its texts were.

    Every text begins with the special tokens that the tokenizer itself puts there (BOS), and has no end token. The last
    tokens of a data set, fewer than a row, are left out.

    Raises:
        UserError: a data set does not fill a row, or has less than a row of an epoch.
    """
    parts: list[LoadedDataSet] = []
    first = 0
    for part in rows.parts:
        packed = pack(part, tokenizer, length, first)
        taken = None if part.taken is None else repeated(len(packed), part.taken / len(part))
        facts = f"{part.content} packed {length} {tokenizer.digest}"
        content = hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()
        parts.append(replace(part, rows=packed, taken=taken, content=content))  # type: ignore[arg-type]
        first += len(packed)
    return TripletRows(weighted(parts))


def weighted(parts: list[LoadedDataSet]) -> list[LoadedDataSet]:
    """Return packed data sets with the rows that an epoch takes by their weights; as they are without weights.

    Their content holds that: a run that an older version began by the shares of texts does not go on with other ones.
    """
    if all(part.weight is None for part in parts):
        return parts
    taken = rows_by_weight([len(part) for part in parts], [(part.label, part.weight or 0.0) for part in parts])
    return [replace(part, taken=rows, content=f"{part.content} {rows}") for part, rows in zip(parts, taken, strict=True)]


def pack(part: LoadedDataSet, tokenizer: TextTokenizer, length: int, first: int) -> PackedTokens:
    """Join the texts of one data set."""
    tokens, starts = array("i"), array("b")
    for texts in blocks_of_texts(part):
        for ids in tokenizer.tokenizer(texts, verbose=False)["input_ids"]:
            tokens.extend(ids)
            starts.extend([1] + [0] * (len(ids) - 1) if ids else [])
    rows = len(tokens) // length
    if rows == 0:
        raise UserError(f"{part.label}: its texts have {len(tokens)} tokens, less than one row of --max_seq_length {length}")
    whole = rows * length
    ids_of_rows = np.frombuffer(tokens, dtype=np.int32)[:whole].reshape(rows, length)
    return PackedTokens(ids_of_rows, np.frombuffer(starts, dtype=np.int8)[:whole].reshape(rows, length).astype(bool), first)


def blocks_of_texts(part: LoadedDataSet) -> Iterator[list[str]]:
    """Yield the texts of a data set in order, in blocks: of each row the query, other positives, the negatives."""
    for start in range(0, len(part), AT_ONCE):
        texts = []
        for row in part.fetch(range(start, min(start + AT_ONCE, len(part)))):
            texts.append(row["query"])
            if row["positive"] != row["query"]:
                texts.append(row["positive"])
            texts += row["negatives"]
        yield texts
