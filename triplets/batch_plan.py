"""Which rows make a batch: a function of seed, epoch and step alone, so that a run can go on at any step.

A data set is walked through in a permutation, then in another one, and so on: no row comes a second time before every row
has come once. An epoch takes so many rows of that walk, and the next one goes on behind them. The rows of an epoch are
put together to batches of one data set, of all of them mixed, or to a share of either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Sampler

Mixing = Literal["homogeneous", "blended"] | float


@dataclass(frozen=True)
class Share:
    """What an epoch takes of a data set.

    Attributes:
        rows: of the data set.
        taken: rows of its walk that one epoch takes.
    """

    rows: int
    taken: int


def repeated(rows: int, times: float) -> int:
    """Return how many rows are ``times`` all ``rows``, to the nearest whole one, at least one."""
    return max(1, int(Fraction(str(times)) * rows + Fraction(1, 2)))


def apportion(total: int, weights: Sequence[float], most: Sequence[int] | None = None) -> list[int]:
    """Divide ``total`` in the ratio of ``weights`` by largest remainders.

    Args:
        total: how many things there are.
        weights: above zero; need not add up to anything.
        most: how many each may have at most; what is left over goes to the others, as far as they have room.

    Returns:
        Whole numbers, each less than one off its exact share unless ``most`` binds; together ``total`` unless it binds all.
    """
    exact = [Fraction(str(weight)) for weight in weights]
    limits = [total] * len(exact) if most is None else list(most)
    result = [0] * len(exact)
    open_ones = [index for index in range(len(exact)) if limits[index] > 0 and exact[index] > 0]
    left = total
    while left > 0 and open_ones:
        scale = left / sum(exact[index] for index in open_ones)
        quotas = {index: exact[index] * scale for index in open_ones}
        bound = [index for index in open_ones if quotas[index] >= limits[index]]
        if bound:
            for index in bound:
                result[index] = limits[index]
            left -= sum(limits[index] for index in bound)
            open_ones = [index for index in open_ones if index not in bound]
            continue
        for index in open_ones:
            result[index] = int(quotas[index])
        left -= sum(result[index] for index in open_ones)
        by_remainder = sorted(open_ones, key=lambda index: (result[index] - quotas[index], index))
        for index in by_remainder[:left]:
            result[index] += 1
        break
    return result


@dataclass(frozen=True)
class EpochOrder:
    """The batches of one epoch, over all processes.

    Attributes:
        rows: int64, the numbers of the epoch's rows.
        starts: int64 ``(batches,)``: where in ``rows`` each batch begins, in the order of the steps.
        ends: where it ends.
    """

    rows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class BatchPlan(Sampler[list[int]]):
    """This process's rows of each batch.

    A batch of all processes together is split evenly among them. One data set is cut into full batches and a last, smaller
    one, whose share for a process may be no row at all. Of several, each data set's rows of an epoch are spread evenly over
    as few batches as hold them, so that none has a few rows only; batches of a data set come evenly spaced over the epoch,
    each at a random place in its stretch of it, so that after any number of steps the data sets have been seen in the
    ratio of the whole epoch, to a few batches.
    """

    def __init__(
        self,
        shares: int | Sequence[Share],
        batch_size: int,
        *,
        seed: int,
        shuffle: bool = True,
        mixing: Mixing = "homogeneous",
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """Make the plan.

        Args:
            shares: the data sets, whose rows are numbered through; a number is one data set, taken whole.
            batch_size: queries of one process.
            seed: of all permutations.
            shuffle: False for the order of the files, one data set after the other.
            mixing: ``homogeneous`` for batches of one data set, ``blended`` for batches of all rows mixed, or the share of an
                epoch's batches that are of one data set, as near as whole batches allow.
            rank: this process.
            processes: how many there are.
        """
        self.shares = [Share(shares, shares)] if isinstance(shares, int) else list(shares)
        self.seed, self.shuffle, self.rank, self.processes = seed, shuffle, rank, processes
        self.whole = batch_size * processes
        self.starts = np.cumsum([0] + [share.rows for share in self.shares])
        taken = [share.taken for share in self.shares]
        self.rows = sum(taken)
        # Rows of each data set that go into batches of its own; the others are mixed.
        if len(taken) == 1 or mixing == "homogeneous":
            self.own = taken
        elif mixing == "blended":
            self.own = [0] * len(taken)
        else:
            batches = round(float(mixing) * -(-self.rows // self.whole))
            full = [count // self.whole for count in taken]
            self.own = [self.whole * count for count in apportion(batches, taken, full)]
        self.batches = [-(-count // self.whole) for count in [*self.own, self.rows - sum(self.own)]]
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches are used next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order(self.epoch)
        for step in range(len(order.starts)):  # no lists of all of them: there may be a hundred million
            start, end = int(order.starts[step]), int(order.ends[step])
            cuts = [start + (end - start) * rank // self.processes for rank in (self.rank, self.rank + 1)]
            yield order.rows[cuts[0] : cuts[1]].tolist()

    def order(self, epoch: int) -> EpochOrder:
        """Return an epoch's batches; memory is some 24 bytes a row, at most, while it is made, and 8 afterwards."""
        rows = np.empty(self.rows, dtype=np.int64)
        mixed = sum(self.own)  # the rows that are mixed come behind the others
        at = 0
        for number, own in enumerate(self.own):
            walked = self._walked(number, epoch)
            rows[at : at + own] = walked[:own]
            rows[mixed : mixed + len(walked) - own] = walked[own:]
            at, mixed = at + own, mixed + len(walked) - own
        if at < self.rows and self.shuffle:
            rows[at:] = rows[at:][self._permutation("mixed", self.rows - at, epoch)]
        ends = np.cumsum(np.concatenate([self._sizes(count, batches) for count, batches in
                                         zip([*self.own, self.rows - at], self.batches, strict=True)]))  # fmt: skip
        starts = np.concatenate([[0], ends[:-1]])
        if self.shuffle and sum(count > 0 for count in self.batches) > 1:
            turn = self._turns(epoch)
            starts, ends = starts[turn], ends[turn]
        return EpochOrder(rows, starts, ends)

    def _walked(self, number: int, epoch: int) -> np.ndarray:
        """Return the rows of a data set that an epoch takes, in the order of its walk."""
        share, walked = self.shares[number], []
        start = epoch * share.taken
        for walk in range(start // share.rows, -(-(start + share.taken) // share.rows)):
            first = walk * share.rows
            permutation = self._permutation(number, share.rows, walk) if self.shuffle else np.arange(share.rows)
            walked.append(permutation[max(0, start - first) : start + share.taken - first])
        result: np.ndarray = walked[0] if len(walked) == 1 else np.concatenate(walked)
        result += self.starts[number]
        return result

    def _sizes(self, count: int, batches: int) -> np.ndarray:
        """Return the sizes of the batches that ``count`` rows are cut into."""
        if len(self.shares) == 1:
            return np.minimum(self.whole, count - self.whole * np.arange(batches, dtype=np.int64))
        return np.diff(count * np.arange(batches + 1, dtype=np.int64) // max(1, batches))

    def _turns(self, epoch: int) -> np.ndarray:
        """Return in which order batches come: of a data set's b, the j-th at a random place in the j-th b-th of the epoch."""
        places = torch.rand(len(self), generator=self._generator("turns", epoch), dtype=torch.float64).numpy()
        at = 0
        for count in self.batches:
            places[at : at + count] = (places[at : at + count] + np.arange(count)) / max(1, count)
            at += count
        return np.argsort(places, kind="stable")

    def _permutation(self, what: int | str, count: int, number: int) -> np.ndarray:
        return np.asarray(torch.randperm(count, generator=self._generator(what, number)).numpy(), dtype=np.int64)

    def _generator(self, what: int | str, number: int) -> torch.Generator:
        """Return a generator for the permutation ``number`` of a data set, or of something else that has a name."""
        if what == 0:
            # Not seed + number: the second epoch of seed 42 would have the order of the first one of seed 43.
            return torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        # Hashed, because torch's generator looks at 32 bits of the seed only.
        digest = hashlib.blake2b(f"{self.seed} {what} {number}".encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
