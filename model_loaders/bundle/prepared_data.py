"""Data of the hub as ``datasets`` keeps them: a folder for each repository in its cache."""

from __future__ import annotations

from pathlib import Path

import datasets
from datasets.naming import camelcase_to_snakecase


def prepared_folder(name: str, cache_dir: str | Path | None = None) -> Path:
    """Return the folder in the cache of ``datasets`` where data of a hub name are, once they were loaded."""
    *owner, last = name.split("/")
    return Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "___".join([*owner, camelcase_to_snakecase(last)])
