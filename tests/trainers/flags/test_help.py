"""``--help`` shows our own flags at once, ``--help_all`` the inherited ones too; scripts start light."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.tiny import ROOT
from trainers.flags.arguments import GROUPS
from trainers.flags.command_line import parse
from trainers.flags.flag import flags_of
from trainers.flags.help_text import EVERYDAY
from trainers.flags.inherited import REFUSED, RENAMED
from trainers.flags.training_arguments import inherited_flags

OWN = flags_of(*GROUPS)

# Runs a script as its user does, and fails if --help imported a heavy library.
LIGHT = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {"torch", "transformers", "datasets", "peft", "numpy", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("name", sorted(OWN))
def test_every_flag_has_help(name: str) -> None:
    assert len(OWN[name].help) > 10


def test_own_and_inherited_flags_differ() -> None:
    assert not set(OWN) & set(inherited_flags())


def test_everyday_flags_exist() -> None:
    assert set(EVERYDAY) <= {*inherited_flags(), *RENAMED} - set(REFUSED)


def help_of(script: str) -> str:
    command = [sys.executable, "-c", LIGHT, str(ROOT / "trainers" / f"{script}.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", ["train", "check_data"])
def test_script_help_is_light(script: str) -> None:
    assert "--dataset_config" in help_of(script)


def test_help_is_instant() -> None:
    best = float("inf")
    for _ in range(3):  # a busy machine may be slow once
        start = time.perf_counter()
        text = help_of("model3_trainer").replace("\n", " ")
        best = min(best, time.perf_counter() - start)
    assert best < 2.0
    for name in (*OWN, *EVERYDAY):
        assert f"--{name} " in text


def test_help_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parse(["--help_all"])
    assert raised.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in (*OWN, *inherited_flags(), *RENAMED):
        assert f"--{name} " in shown
    assert REFUSED["label_smoothing_factor"] in shown and "model5" in shown
