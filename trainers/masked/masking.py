"""Masked next-token prediction: which tokens of a row are hidden, and what stands in their place.

BERT's way (Devlin et al., arXiv 1810.04805, section 3.1): of the chosen tokens 80 % become the mask token, 10 % a random token,
10 % stay. LLM2Vec (arXiv 2404.05961, section 2.2 and its configs) chooses 20 % so, or 80 % of which all become the mask token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IGNORED = -100  # the label of a token that is not to be predicted
MASKED, RANDOM = 0.8, 0.1  # of the chosen tokens, BERT's way


@dataclass(frozen=True)
class Masking:
    """How tokens are masked.

    Attributes:
        mask_id: id of the token that stands for hidden ones.
        share: of the tokens that may be chosen, each is with this probability.
        all_masked: every chosen token becomes the mask token, instead of BERT's 80, 10 and 10 %.
        special_ids: tokens that are never chosen and never put in.
        vocabulary: number of ids that a random token is drawn from.
        seed: of all draws.
    """

    mask_id: int = 0
    share: float = 0.2
    all_masked: bool = False
    special_ids: frozenset[int] = frozenset()
    vocabulary: int = 1
    seed: int = 0

    def random_ids(self) -> np.ndarray:
        """Return the ids that may be put in at random: int64 ``(ids,)``."""
        return np.setdiff1d(np.arange(self.vocabulary), np.array(sorted(self.special_ids), dtype=np.int64))

    def draws(self, step: int, row: int) -> np.random.Generator:
        """Return the generator of a row in a step: its mask depends on nothing else, so that a run can go on anywhere."""
        return np.random.default_rng([self.seed, step, row])


def mask_row(
    ids: Sequence[int], masking: Masking, candidates: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mask a row of tokens.

    Args:
        ids: token ids.
        masking: the way.
        candidates: of `Masking.random_ids`.
        generator: draws.

    Returns:
        The row that the model reads, and the labels: the original id where a token was chosen, else `IGNORED`; int64.
    """
    original = np.asarray(ids, dtype=np.int64)
    special = np.isin(original, np.array(sorted(masking.special_ids), dtype=np.int64))
    chosen = (generator.random(len(original)) < masking.share) & ~special
    kind, drawn = generator.random(len(original)), candidates[generator.integers(len(candidates), size=len(original))]
    read = original.copy()
    if masking.all_masked:
        read[chosen] = masking.mask_id
    else:
        read[chosen & (kind < MASKED)] = masking.mask_id
        at_random = chosen & (kind >= MASKED) & (kind < MASKED + RANDOM)
        read[at_random] = drawn[at_random]
    return read, np.where(chosen, original, IGNORED)
