"""The place of the text in a row of tokens, what of it is cut, and which tokens are pooled.

Tokens are placed by their character offsets in the rendered string, so that a token that merges the prompt's last character
with the text's first one counts as text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # characters from, to


@dataclass(frozen=True)
class Copy:
    """The tokens of one copy of the text that may be cut: those without a character of the prompt behind it.

    Attributes:
        places: their indices in the row.
        ends: how far into the text each reaches, never falling.
    """

    places: list[int]
    ends: list[int]


@dataclass(frozen=True)
class Placement:
    """One text's tokens without BOS and end token.

    Attributes:
        ids: their ids.
        copies: of the text, in their order.
        text: indices of the tokens that hold a character of the last copy.
        behind: index of the first token that reaches behind the prompt before the last copy.
        has_prompt: whether anything stands before the last copy.
    """

    ids: list[int]
    copies: list[Copy]
    text: list[int]
    behind: int
    has_prompt: bool


def place_string(ids: list[int], offsets: Sequence[Span], copies: Sequence[Span]) -> Placement:
    """Place the tokens of one string.

    Args:
        ids: of the string.
        offsets: the characters of each token.
        copies: the characters of each copy of the text.
    """
    placed = []
    for start, stop in copies:
        places = [index for index in overlapping(offsets, (start, stop)) if offsets[index][1] <= stop]
        placed.append(Copy(places, [offsets[index][1] - start for index in places]))
    start, stop = copies[-1]
    behind = next((index for index, (_, end) in enumerate(offsets) if end > start), len(ids))
    return Placement(ids, placed, overlapping(offsets, (start, stop)), behind, start > 0)


def overlapping(offsets: Sequence[Span], span: Span) -> list[int]:
    """Return the indices of the tokens that hold a character of ``span``."""
    start, stop = span
    return [index for index, (first, last) in enumerate(offsets) if last > start and first < stop]


def place_pieces(pieces: Sequence[list[int]], is_text: Sequence[bool]) -> Placement:
    """Place the tokens of pieces that were tokenised one by one; ``is_text`` says which of them are copies of the text."""
    ids: list[int] = []
    copies: list[Copy] = []
    behind = 0
    for piece, text in zip(pieces, is_text, strict=True):
        if text:
            behind = len(ids)
            places = list(range(behind, behind + len(piece)))
            copies.append(Copy(places, [place - behind + 1 for place in places]))
        ids += piece
    return Placement(ids, copies, copies[-1].places, behind, behind > 0)


def kept_tokens(placement: Placement, room: int) -> list[int] | None:
    """Return the indices of the tokens that stay when the text is cut so that ``room`` tokens are left.

    One copy is cut token by token; several are cut to the same characters.

    Returns:
        The indices in their order; ``None`` where no token of the text would be left.
    """
    excess = len(placement.ids) - room
    everything = list(range(len(placement.ids)))
    if excess <= 0:
        return everything
    if len(placement.copies) == 1:
        places = placement.copies[0].places
        dropped = set(places[-excess:])
        return [index for index in everything if index not in dropped] if excess < len(places) else None
    ends = [copy.ends for copy in placement.copies]
    fixed = len(placement.ids) - sum(map(len, ends))
    for reach in sorted(set(ends[-1]), reverse=True):
        counts = [bisect_right(own, reach) for own in ends]
        if fixed + sum(counts) <= room and min(counts) > 0:
            dropped = set()
            for copy, count in zip(placement.copies, counts, strict=True):
                dropped.update(copy.places[count:])
            return [index for index in everything if index not in dropped]
    return None


def pooled_places(placement: Placement, kept: Sequence[int], pooled: str, front: int, back: int) -> Sequence[int]:
    """Return the positions that are pooled in a row of BOS, the kept tokens and the end token.

    Args:
        placement: of the tokens.
        kept: indices of those that are in the row.
        pooled: ``Recipe.pooled``.
        front: tokens before them.
        back: tokens behind them.
    """
    total = front + len(kept) + back
    if pooled == "all" or (pooled == "after_prompt" and not placement.has_prompt):
        return range(total)
    if pooled == "after_prompt":
        before = sum(index < placement.behind for index in kept)
        return range(front + before, total)
    text = set(placement.text)
    places = [front + place for place, index in enumerate(kept) if index in text]
    return [*places, *range(total - back, total)] if pooled == "text_and_end" else places
