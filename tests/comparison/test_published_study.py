"""The study that docs/study.md reports: its published cells give its published tables, by the command that stands there."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from comparison.__main__ import main
from tests.tiny import ROOT

PUBLISHED = ROOT / "docs" / "smollm2"


@pytest.mark.slow
def test_the_published_cells_give_the_published_tables(tmp_path: Path) -> None:
    with tarfile.open(PUBLISHED / "cells.tar.xz") as archive:
        archive.extractall(tmp_path / "study", filter="data")
    families = str(ROOT / "configs" / "families" / "smollm2.yaml")
    out = tmp_path / "report"
    assert main([str(tmp_path / "study"), "--baseline", "model1", "--families", families, "--output_dir", str(out)]) == 0
    for name in ("comparison.csv", "scores.csv", "table.tex"):
        assert (out / name).read_text() == (PUBLISHED / name).read_text(), name
    page = (out / "report.html").read_text()
    assert "trainable parameters" in page and "newest is taken" not in page


def test_the_published_cells_hold_no_text_of_a_task_and_no_path() -> None:
    """Texts of tasks are not everybody's to give away; a recipe has the first text of each side, hashes have paths."""
    with tarfile.open(PUBLISHED / "cells.tar.xz") as archive:
        files = [member for member in archive if member.isfile() and not member.name.endswith(".gz")]
        assert len(files) > 1000
        for member in files:
            file = archive.extractfile(member)
            assert file is not None
            content = file.read()
            assert b"first_text" not in content and b'"/' not in content, member.name
