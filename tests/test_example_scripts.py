"""The scripts in ``examples/`` run from the first to the last: own data, mining, a comparison."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import ROOT

SCRIPTS = ("own_data.sh", "mine_and_train.sh", "compare_two_models.sh")


def test_every_script_is_here() -> None:
    assert sorted(path.name for path in (ROOT / "examples").glob("*.sh")) == sorted(SCRIPTS)


@pytest.mark.slow
def test_scripts(tmp_path: Path) -> None:
    """One after the other: each uses what the ones before it made."""
    environment = os.environ | {"PYTHON": sys.executable, "STEPS": "3", "OUT": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    for script in SCRIPTS:
        command = ["sh", str(ROOT / "examples" / script)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, cwd=tmp_path)
        assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert (tmp_path / "exported" / "modules.json").is_file()
    assert (tmp_path / "exported-mined" / "config.json").is_file()
    assert (tmp_path / "compression" / "compression.svg").is_file()
    assert len(list(tmp_path.glob("compared-*/report/report.html"))) == 1
