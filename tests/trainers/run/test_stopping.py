"""Signal handlers: each signal is a request, a second Ctrl-C leaves at once, data workers obey their parent alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.tiny import ROOT
from trainers.run.stopping import SIGNALS, Stopped, StopRequest, stop_requests


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGUSR1", 138)])
def test_each_signal_is_a_request(name: str, status: int, capfd: pytest.CaptureFixture[str]) -> None:
    number = getattr(signal, name)
    handler = signal.getsignal(number)
    signal.signal(number, signal.default_int_handler)  # an ignored one would stay so
    try:
        with stop_requests() as stop:
            stop.phase = "training"
            os.kill(os.getpid(), number)
            assert stop.requested == number
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, handler)
    assert "finishing this step" in capfd.readouterr().err
    assert number in SIGNALS and Stopped(number, "").exit_code == status


def test_signal_while_preparing() -> None:
    with pytest.raises(Stopped, match="before the first step"):
        StopRequest().handle(signal.SIGTERM, None)


SECOND_CTRL_C = """
import os, signal, time
from trainers.run import stopping
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it, and its children do
stopping.SAME_CTRL_C_SECONDS = 0.3
with stopping.stop_requests() as stop:
    stop.phase = "training"
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)  # as torchrun hands on the terminal's
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested == signal.SIGINT
    time.sleep(0.4)
    print("still here", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
print("never here")
"""

IGNORED_SIGNAL = """
import os, signal
from trainers.run import stopping
signal.signal(signal.SIGINT, signal.SIG_IGN)
with stopping.stop_requests() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    assert not stop.requested
"""

WORKER = """
import os, signal, subprocess, sys, time
from trainers.run.stopping import leave_signals_to_the_parent
reader, writer = os.pipe()
worker = os.fork()
if worker == 0:
    leave_signals_to_the_parent()
    os.write(writer, b"!")
    time.sleep(30)
    sys.exit(3)
os.read(reader, 1)
for name in ("TERM", "INT", "USR1"):
    subprocess.run(["kill", f"-{name}", str(worker)], check=True)  # as others send it
time.sleep(0.3)
assert os.waitpid(worker, os.WNOHANG) == (0, 0)
os.kill(worker, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
"""


def python(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_second_ctrl_c_leaves_at_once() -> None:
    done = python(SECOND_CTRL_C)
    assert (done.returncode, done.stdout) == (130, "still here\n"), done.stderr
    assert done.stderr.count("Ctrl-C again") == 1 and "left at once" in done.stderr


def test_ignored_signal_stays_ignored() -> None:
    assert python(IGNORED_SIGNAL).returncode == 0


def test_data_worker_ends_with_its_parent() -> None:
    done = python(WORKER)
    assert done.stdout == "0\n", done.stderr
