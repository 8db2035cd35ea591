"""Hashes of facts that JSON can hold."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(facts: Any, digits: int = 64) -> str:
    """Return the first hex ``digits`` of the SHA-256 of ``facts``, written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:digits]
