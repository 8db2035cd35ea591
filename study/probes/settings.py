"""The key ``probes`` of a study file."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.errors import UserError, nearest
from study.probes import FEWEST_TEXTS, NAMES


@dataclass(frozen=True)
class Probing:
    """The key ``probes`` of a study file.

    Attributes:
        corpus: file of texts.
        key: of its rows, the key that holds the text.
        probes: some of them; none for all.
        texts: of a probe at most.
        seed: of sentences, places and intervals.
        max_length: tokens a text at most; None for 2,048, or what the base LLM takes.
    """

    corpus: str
    key: str = "text"
    probes: list[str] = field(default_factory=list)
    texts: int = 100
    seed: int = 42
    max_length: int | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            UserError: there is no such probe, or there are too few texts or tokens.
        """
        for name in self.probes:
            if name not in NAMES:
                raise UserError(f"probes: there is no {name!r}{nearest(name, NAMES)}; the probes are {', '.join(NAMES)}")
        if self.texts < FEWEST_TEXTS:
            raise UserError(f"probes: texts must be at least {FEWEST_TEXTS}: intervals over fewer say nothing")
        if self.max_length is not None and self.max_length < 1:
            raise UserError("probes: max_length must be at least 1")
