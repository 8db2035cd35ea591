"""The rows of each batch, as a function of seed, epoch and step alone, so that a run can go on at any step.

The rows of a data set are taken in a random permutation, then in another one, and so on: no row comes a second time before
every row has come once. An epoch takes a number of rows of this sequence, and the next epoch goes on behind them. The rows of
an epoch are put together to batches of one data set, of all of them mixed, or to a share of either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch.utils.data import Sampler

from triplets.mixing import Mixing, Within


@dataclass(frozen=True)
class EpochShare:
    """The part of a data set that an epoch takes.

    Attributes:
        rows: number of rows of the data set.
        taken: number of rows that one epoch takes; may exceed ``rows``.
    """

    rows: int
    taken: int


def repeated(rows: int, times: float) -> int:
    """Return ``times * rows`` rounded to the nearest whole number, at least one."""
    return max(1, int(Fraction(str(times)) * rows + Fraction(1, 2)))


def apportion(total: int, weights: Sequence[float], most: Sequence[int] | None = None) -> list[int]:
    """Divide ``total`` in the ratio of ``weights`` by largest remainders.

    Args:
        total: number of things to divide.
        weights: above zero; they need no particular sum.
        most: largest number that each may have; the rest goes to the others, as far as they have room.

    Returns:
        Whole numbers, each less than one off its exact share unless ``most`` binds. Their sum is ``total`` unless all bind.

    >>> apportion(10, [1, 1, 2])
    [3, 2, 5]
    """
    exact = [Fraction(str(weight)) for weight in weights]
    limits = [total] * len(exact) if most is None else list(most)
    result = [0] * len(exact)
    below_limit = [index for index in range(len(exact)) if limits[index] > 0 and exact[index] > 0]
    left = total
    while left > 0 and below_limit:
        scale = left / sum(exact[index] for index in below_limit)
        quotas = {index: exact[index] * scale for index in below_limit}
        at_limit = [index for index in below_limit if quotas[index] >= limits[index]]
        if not at_limit:
            break
        for index in at_limit:
            result[index] = limits[index]
            left -= limits[index]
            below_limit.remove(index)
    if left > 0 and below_limit:
        for index in below_limit:
            result[index] = int(quotas[index])
            left -= result[index]
        by_remainder = sorted(below_limit, key=lambda index: (result[index] - quotas[index], index))
        for index in by_remainder[:left]:
            result[index] += 1
    return result


@dataclass(frozen=True)
class EpochOrder:
    """The batches of one epoch, over all processes.

    Attributes:
        rows: int64, the numbers of the epoch's rows.
        starts: int64 ``(batches,)``: the first index of each batch in ``rows``, in the order of the steps.
        ends: int64 ``(batches,)``: the index behind its last one.
    """

    rows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class BatchPlan(Sampler[list[int]]):
    """This process's rows of each batch.

    A batch of all processes together is split evenly among them. A single data set is cut into full batches and a last,
    smaller one, of which a process may get no row. If there are several, the rows that an epoch takes of each are spread evenly
    over as few batches as hold them, so that no batch is tiny. The batches of a data set come evenly spaced over the epoch,
    each at a random place in its stretch. So after any number of steps the data sets have been seen in the ratio of the whole
    epoch, to a few batches.
    """

    def __init__(
        self,
        shares: int | Sequence[EpochShare],
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
            shares: of the data sets, whose rows are numbered through; a number stands for one data set, taken whole.
            batch_size: number of queries on one process.
            seed: for all permutations.
            shuffle: False keeps the order of the files, one data set after the other.
            mixing: ``homogeneous`` for batches of one data set, ``blended`` for batches of all rows mixed, the share of an
                epoch's batches that are of one data set, as near as whole batches allow, or `Within` for a share of each batch
                (KaLM-Embedding, arXiv 2501.01028: semi-homogeneous batches).
            rank: this process.
            processes: number of processes.
        """
        self.shares = [EpochShare(shares, shares)] if isinstance(shares, int) else list(shares)
        self.seed, self.shuffle, self.rank, self.processes = seed, shuffle, rank, processes
        self.whole = batch_size * processes
        self.starts = np.cumsum([0] + [share.rows for share in self.shares])
        taken = [share.taken for share in self.shares]
        self.rows = sum(taken)
        # Rows of each data set that go into batches of its own; the others are mixed.
        self.exchanged = 1.0 - mixing.share if isinstance(mixing, Within) and len(taken) > 1 else 0.0  # of each batch
        if len(taken) == 1 or mixing == "homogeneous" or isinstance(mixing, Within):
            self.own = taken
        elif mixing == "blended":
            self.own = [0] * len(taken)
        else:
            batches = round(float(mixing) * -(-self.rows // self.whole))
            full_batches = [count // self.whole for count in taken]
            self.own = [self.whole * count for count in apportion(batches, taken, full_batches)]
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
            own_start = start + (end - start) * self.rank // self.processes
            own_end = start + (end - start) * (self.rank + 1) // self.processes
            yield order.rows[own_start:own_end].tolist()

    def order(self, epoch: int) -> EpochOrder:
        """Return an epoch's batches; takes at most some 24 bytes a row while it is made, and 8 afterwards."""
        rows = np.empty(self.rows, dtype=np.int64)
        at, mixed = 0, sum(self.own)  # mixed rows come behind those of batches of one data set
        for number, own in enumerate(self.own):
            taken = self._taken(number, epoch)
            rows[at : at + own] = taken[:own]
            rows[mixed : mixed + len(taken) - own] = taken[own:]
            at, mixed = at + own, mixed + len(taken) - own
        if at < self.rows and self.shuffle:
            rows[at:] = rows[at:][self._permutation("mixed", self.rows - at, epoch)]

        sizes = []
        for count, batches in zip([*self.own, self.rows - at], self.batches, strict=True):
            sizes.append(self._sizes(count, batches))
        ends = np.cumsum(np.concatenate(sizes))
        starts = np.concatenate([[0], ends[:-1]])
        if self.exchanged and self.shuffle:
            self._exchange(rows, starts, ends, epoch)
        if self.shuffle and np.count_nonzero(self.batches) > 1:
            sequence = self._batch_sequence(epoch)
            starts, ends = starts[sequence], ends[sequence]
        return EpochOrder(rows, starts, ends)

    def _exchange(self, rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, epoch: int) -> None:
        """Shuffle some rows of every batch among all batches, in place.

        They stand evenly spaced in their batch, so that no process gets all of them.
        """
        sizes = ends - starts
        counts = np.floor(self.exchanged * sizes + 0.5).astype(np.int64)
        numbers = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        spacing = np.repeat(sizes / np.maximum(counts, 1), counts)
        places = np.repeat(starts, counts) + ((numbers + 0.5) * spacing).astype(np.int64)
        rows[places] = rows[places][self._permutation("within", len(places), epoch)]

    def _taken(self, number: int, epoch: int) -> np.ndarray:
        """Return the rows of a data set that an epoch takes, in the order of its permutations."""
        share, parts = self.shares[number], []
        start = epoch * share.taken
        end = start + share.taken
        for repetition in range(start // share.rows, -(-end // share.rows)):
            first = repetition * share.rows
            permutation = np.arange(share.rows)
            if self.shuffle:
                permutation = self._permutation(number, share.rows, repetition)
            parts.append(permutation[max(0, start - first) : end - first])
        rows: np.ndarray = parts[0] if len(parts) == 1 else np.concatenate(parts)
        rows += self.starts[number]
        return rows

    def _sizes(self, count: int, batches: int) -> np.ndarray:
        """Return the sizes of the batches that ``count`` rows are cut into."""
        if len(self.shares) == 1:
            return np.minimum(self.whole, count - self.whole * np.arange(batches, dtype=np.int64))
        return np.diff(count * np.arange(batches + 1, dtype=np.int64) // max(1, batches))

    def _batch_sequence(self, epoch: int) -> np.ndarray:
        """Return the order of the batches.

        The epoch is cut into as many equal stretches as a data set has batches. Each batch gets a random place in its stretch.
        """
        places = torch.rand(len(self), generator=self._generator("turns", epoch), dtype=torch.float64).numpy()
        at = 0
        for count in self.batches:
            places[at : at + count] = (places[at : at + count] + np.arange(count)) / max(1, count)
            at += count
        return np.argsort(places, kind="stable")

    def _permutation(self, name: int | str, count: int, number: int) -> np.ndarray:
        return np.asarray(torch.randperm(count, generator=self._generator(name, number)).numpy(), dtype=np.int64)

    def _generator(self, name: int | str, number: int) -> torch.Generator:
        """Return a generator for the permutation ``number`` of a data set, or of another purpose with a name."""
        if name == 0:
            # Not seed + number: the second epoch of seed 42 would have the order of the first one of seed 43.
            return torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        # Hashed, because torch's generator looks at 32 bits of the seed only.
        digest = hashlib.blake2b(f"{self.seed} {name} {number}".encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
