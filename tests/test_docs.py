"""The documentation's links lead somewhere, on GitHub and as a site."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_go_on_in_the_next_line(page: Path) -> None:
    """Two backslashes at the end of a line are a backslash for the command, which ends there."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.endswith(r"\\")]


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    build = ["-q", "-W", "-c", "docs", "-d", str(tmp_path / "trees"), ".", str(tmp_path / "site")]
    command = [sys.executable, "-m", "sphinx", *build]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Mean pooling" in (tmp_path / "site/README.html").read_text(encoding="utf-8")
