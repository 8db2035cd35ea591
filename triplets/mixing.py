"""The ways in which the rows of several data sets are mixed to batches; a light module, for the flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Within:
    """Every batch has a share of one data set; its other rows are drawn from all of them.

    Attributes:
        share: above 0, below 1; of each batch, rounded to whole rows.
    """

    share: float

    def __str__(self) -> str:
        return f"within:{self.share:g}"


Mixing = Literal["homogeneous", "blended"] | float | Within
