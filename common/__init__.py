"""Errors, files, hashes, locks and words: what every room needs. Standard library, numpy and PyYAML only."""

from __future__ import annotations

import sys

if sys.platform == "win32":  # locks, signals and pipes are those of POSIX; a part that works would be no help
    raise SystemExit(
        "error: Windows is not supported: file locks and signals of Linux and macOS are needed. Use the Windows Subsystem for "
        "Linux (WSL 2), and run the same command in it"
    )
