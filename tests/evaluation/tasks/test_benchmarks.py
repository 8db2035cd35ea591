"""The file of benchmarks is what the generator gives with the installed mteb, or says of which mteb it is."""

from __future__ import annotations

import mteb
import pytest

from evaluation.tasks.benchmarks import as_yaml
from tests.tiny import ROOT


def test_the_file_is_what_the_generator_gives() -> None:
    text = (ROOT / "comparison" / "benchmarks_mteb.yaml").read_text(encoding="utf-8")
    version = text.split("of mteb ")[1].split(",")[0]
    if version != mteb.__version__:
        pytest.skip(f"comparison/benchmarks_mteb.yaml says that it is of mteb {version}; installed is {mteb.__version__}")
    assert as_yaml() == text
