"""Reading and writing the small JSON files of a study, and hashes of its data that are not computed twice."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(about: Any) -> str:
    """Return a hash of JSON values."""
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
