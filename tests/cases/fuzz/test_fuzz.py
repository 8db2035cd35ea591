"""Mutated files of every kind that users bring: each reader gives a right value or a `UserError`.

``FUZZ_INPUTS=10000 pytest -m slow -s tests/cases/fuzz`` tries that many inputs in all, and prints the table of figures.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from common.errors import UserError
from tests.cases.fuzz import model_readers, task_readers, triplet_readers
from tests.cases.fuzz.mutations import Files, mutated
from tests.cases.fuzz.reader import Reader, write
from tests.cases.fuzz.watch import Figures, watched

READERS: list[Reader] = [*triplet_readers.READERS, *task_readers.READERS, *model_readers.READERS]
INPUTS = int(os.environ.get("FUZZ_INPUTS", "1500"))
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]


def inputs_of(reader: Reader) -> int:
    """Return the number of inputs that a reader gets."""
    return max(10, round(INPUTS * reader.weight / sum(other.weight for other in READERS)))


def outcome(reader: Reader, files: Files, figures: Figures) -> None:
    """Read files, and hold value, error, time and memory against what is allowed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, files)
        kind, value = "value", None
        with watched(figures), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                value = reader.read(folder)
            except UserError as error:
                kind = "error"
                message = str(error)
        if kind == "value":
            reader.check(folder, value)
        else:
            assert len(message) > 10, message
            message.encode()
        figures.outcomes[kind] += 1


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_mutated_files(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    figures = Figures()
    files = reader.files()
    outcome(reader, files, Figures())  # what is imported late is no part of the figures
    assert_valid(reader, files)

    @settings(
        max_examples=inputs_of(reader),
        deadline=None,
        database=None,
        derandomize="FUZZ_INPUTS" not in os.environ,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=QUIET,
    )
    @given(st.data())
    def tried(data: Any) -> None:
        outcome(reader, data.draw(mutated(files, dict(reader.changes))), figures)

    try:
        tried()
    finally:
        with capsys.disabled():
            print(f"\n{figures.line(reader.name)}")


def assert_valid(reader: Reader, files: Files) -> None:
    """The files before any change give a value."""
    figures = Figures()
    outcome(reader, files, figures)
    assert figures.outcomes["value"] == 1
