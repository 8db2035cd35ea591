"""The key ``tune`` of a study file: which settings are tried, and on which development tasks they are scored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.errors import UserError

COMMON = "common"  # the flags of ``training`` as they are, which is always tried
NAME = re.compile(r"[\w.-]+")  # it becomes part of a folder's name


@dataclass(frozen=True)
class TuneConfig:
    """A search; each design tries every setting once, so that the budget is equal for all.

    Attributes:
        settings: by name, flags of the trainers that go before those in ``training``; the flags of ``training`` alone are
            tried too, as ``common``.
        tasks: development tasks: names of folders in ``eval_dir``, or of mteb's tasks; empty for all folders.
        eval_dir: local folders of development tasks. With neither this nor ``tasks``, those of the embedded corpus are taken.
        training: flags of the search's runs alone, such as ``max_steps``.
        seed: of the search's runs.
    """

    settings: dict[str, Any]
    tasks: list[str] = field(default_factory=list)
    eval_dir: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what can be known without data.

        Raises:
            UserError: naming the key.
        """
        if not self.settings:
            raise UserError("settings: give at least one, such as low: {learning_rate: 3.0e-4}")
        for name, flags in self.settings.items():
            if name == COMMON or not isinstance(name, str) or not NAME.fullmatch(name):
                raise UserError(
                    f"settings: {name!r} is no name for a setting: letters, digits, '.', '_' and '-', and not {COMMON!r}, "
                    "which is the name of the flags in training as they are"
                )
            if not isinstance(flags, dict) or not flags:
                raise UserError(f"settings, {name}: expected flags of the trainers and their values, found {flags!r}")
            if "dataset_config" in flags:
                raise UserError(f"settings, {name}: dataset_config: all settings are tried on the same data; leave it out")
        if "dataset_config" in self.training:
            raise UserError("training: dataset_config: the search trains on the study's data; leave it out")

    @property
    def tried(self) -> dict[str, dict[str, Any]]:
        """The flags of every setting that is tried, by name, ``common`` first."""
        return {COMMON: {}, **self.settings}


def check_different(design: str, flags: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise a UserError where two settings are the same for a design: it would have a smaller budget than the others.

    Args:
        design: name of it.
        flags: by setting, those that the design has.
    """
    seen: list[tuple[str, Mapping[str, Any]]] = []
    for name, own in flags.items():
        for other, others in seen:
            if own == others:
                raise UserError(
                    f"tune: settings: {other} and {name} are the same for {design}, which has not all of their flags: it would "
                    "try fewer settings than the others. Let every two settings differ in a flag that all designs have, such "
                    "as learning_rate"
                )
        seen.append((name, own))
