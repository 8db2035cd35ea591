"""Whether rows can be had is known in seconds; nothing asks the network that was not asked to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import datasets
import pytest
from huggingface_hub import constants

from evaluation.evaluate import evaluate
from evaluation.tasks import availability
from evaluation.tasks.availability import check_rows, in_cache
from evaluation.tasks.find import find_tasks
from tests.evaluation.conftest import BagOfWords
from tests.tiny import ROOT


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch, tmp_path):
    """Nothing is remembered, nothing is cached, the user has not asked to be offline."""
    for what in (constants, datasets.config):
        monkeypatch.setattr(what, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "prepared")
    for function in (availability.hub_reachable, availability.offline_by_user):
        function.cache_clear()
    yield
    for function in (availability.hub_reachable, availability.offline_by_user):
        function.cache_clear()


def asked(monkeypatch, status: int | None = None) -> list[int]:
    """Count how often the hub is asked; it answers with `status`, or never."""
    calls: list[int] = []

    def ask(answers: list[int]) -> None:
        calls.append(1)
        if status is None:
            threading.Event().wait(20)
        answers.append(status or 0)

    monkeypatch.setattr(availability, "_ask", ask)
    monkeypatch.setattr(availability, "SECONDS", 0.2)
    return calls


def test_silent_hub_is_asked_once(monkeypatch, tmp_path, data_dir):
    calls = asked(monkeypatch)
    began, lines = time.monotonic(), []
    specs = find_tasks(["BIOSSES", "paper/Clustering", "TinySTS", "STS17"], data_dir)
    specs = check_rows(specs, lines.append)
    assert time.monotonic() - began < 5 and len(calls) == 1
    assert [bool(spec.missing) for spec in specs] == [True] * 12 + [False] * 2
    (line,) = lines
    assert "12 of 14 tasks have no rows here" in line and "BIOSSES" in line and "and 7 more" in line
    assert "the hub (https://huggingface.co) cannot be reached" in line
    assert constants.HF_HUB_OFFLINE and datasets.config.HF_HUB_OFFLINE  # what is cached is not looked for on the hub either
    result = evaluate(BagOfWords(), specs, tmp_path / "out", name="b", version="1", log=lines.append)
    assert len(calls) == 1 and sum("have no rows here" in line for line in lines) == 1
    assert [score.name for score in result.scores] == ["TinySTS", "STS17"] and len(result.failures) == 12
    assert "not in the local cache" in result.failures["BIOSSES"] and "a folder of its name" in result.failures["BIOSSES"]


def test_offline_by_the_user(monkeypatch, tmp_path, data_dir):
    calls = asked(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = evaluate(BagOfWords(), find_tasks(["BIOSSES", "TinySTS"], data_dir), tmp_path / "out", name="b", version="1")
    assert not calls and "HF_HUB_OFFLINE is set" in result.failures["BIOSSES"]
    assert result.score("TinySTS") > 0


def test_local_folders_ask_nobody(monkeypatch, data_dir):
    calls = asked(monkeypatch)
    specs = find_tasks((), data_dir)
    assert check_rows(specs) == specs and not calls


def test_answering_hub(monkeypatch):
    calls = asked(monkeypatch, status=503)
    specs = find_tasks(["BIOSSES", "STS12"])
    assert check_rows(specs) == specs == check_rows(specs) and len(calls) == 1
    assert not constants.HF_HUB_OFFLINE
    assert "may need an account" in availability.reason("BIOSSES")


def test_cached_rows_are_tried(monkeypatch, tmp_path):
    asked(monkeypatch)
    assert not in_cache("BIOSSES")
    (tmp_path / "hub/datasets--mteb--biosses-sts/snapshots/abc").mkdir(parents=True)
    assert not in_cache("BIOSSES")  # an empty snapshot
    (tmp_path / "hub/datasets--mteb--biosses-sts/snapshots/abc/test.parquet").touch()
    (tmp_path / "prepared/mteb___sts12-sts/default/0.0.0/abc").mkdir(parents=True)
    assert in_cache("BIOSSES") and in_cache("STS12") and not in_cache("STS13")
    assert [bool(spec.missing) for spec in check_rows(find_tasks(["BIOSSES", "STS12", "STS13"]))] == [False, False, True]


GUARD = """
import socket, sys
from pathlib import Path
def refuse(*arguments, **options):
    print("NETWORK", arguments, flush=True)
    raise OSError("no network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.gethostbyname = refuse
from evaluation.evaluate import evaluate
from evaluation.tasks.find import find_tasks
from tests.evaluation.conftest import BagOfWords
result = evaluate(BagOfWords(), find_tasks((), sys.argv[1]), sys.argv[2], name="b", version="1")
print(len(result.scores), len(result.failures))
"""


@pytest.mark.slow
def test_no_connection_from_the_first_import_on(tmp_path, data_dir):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    command = [sys.executable, "-c", GUARD, str(data_dir), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "7 0\n", done.stdout + done.stderr


def test_local_folders_open_no_connection(monkeypatch, tmp_path, data_dir):
    calls = []

    def refuse(*arguments, **_):
        calls.append(arguments)
        raise OSError("no network")

    for place, name in ((socket.socket, "connect"), (socket.socket, "connect_ex"), (socket, "getaddrinfo")):
        monkeypatch.setattr(place, name, refuse)
    result = evaluate(BagOfWords(), find_tasks((), data_dir), tmp_path / "out", name="b", version="1")
    assert (len(result.scores), len(result.failures), calls) == (7, 0, [])
    result = evaluate(BagOfWords(), find_tasks(["BIOSSES"], data_dir), tmp_path / "out", name="b", version="1")
    assert calls and list(result.failures) == ["BIOSSES"]  # the guard guards
