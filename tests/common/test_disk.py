"""Disks that cannot be written are named."""

from __future__ import annotations

import errno
from types import SimpleNamespace

from common.disk import unwritable


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    error = OSError(errno.ENOSPC, "No space left on device")  # as a write raises it, without a name
    roomy, full = tmp_path / "roomy", tmp_path / "full"
    for folder in (roomy, full):
        folder.mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0 if folder == full else 2**40))
    assert unwritable(error, [roomy, full, tmp_path / "none"]) == f"cannot write ({full}): No space left on device"
    assert unwritable(error) == "cannot write: No space left on device" and not unwritable(ValueError())
    assert unwritable(OSError(errno.EROFS, "Read-only file system"), [full]) == "cannot write: Read-only file system"
