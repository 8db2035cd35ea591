"""Models by name: their folders in mteb's cache of results, where a leaderboard's published results are once fetched.

The cache is a folder (`MTEB_CACHE`, else `~/.cache/mteb`) with `remote/results`, a clone of the published results, and
`results`, those of the machine's own runs. Both have `<organisation>__<model>/<revision>/<Task>.json` (`mteb.ResultCache`,
mteb 2.26).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from comparison.errors import ComparisonError, nearest

PUBLISHED, OWN = Path("remote", "results"), Path("results")
FETCH = 'python -c "import mteb; mteb.ResultCache().download_from_remote()"'


def default_cache() -> Path:
    """Return the folder that mteb takes as its cache."""
    named = os.environ.get("MTEB_CACHE")
    if named:
        return Path(named)
    return Path.home() / ".cache" / "mteb"


def folders_of_models(names: Sequence[str], cache: Path, notes: list[str]) -> list[Path]:
    """Return the folder of each model's results: the published ones, else those of own runs.

    Args:
        names: hub names, such as ``intfloat/e5-mistral-7b-instruct``, or the part behind the slash where only one model has it.
        cache: mteb's cache, or a clone of its results.
        notes: gets a sentence for each model of which the own results were passed over.

    Raises:
        ComparisonError: the cache is not there, or has no such model; the message says what to do.
    """
    places = [cache / PUBLISHED, cache / OWN]
    known = {place: _models(place) for place in places}
    if not any(known.values()):
        raise ComparisonError(
            f"--models: {cache} has no results; fetch the published ones once (needs network and git): {FETCH}; or name a "
            "cache or a clone of embeddings-benchmark/results with --cache DIR, or give folders of results as DIR"
        )
    folders: dict[Path, None] = {}
    for name in dict.fromkeys(names):
        folder = _folder(name, known)
        own = cache / OWN / folder.name
        if folder.parent != cache / OWN and own.is_dir():
            notes.append(f"{name}: its published results are compared; for those of own runs give their folder, {own}")
        folders[folder] = None
    return list(folders)


def _models(place: Path) -> list[str]:
    """Return the names of the folders of models in a folder of results; none where it is not there."""
    if not place.is_dir():
        return []
    return sorted(path.name for path in place.iterdir() if path.is_dir() and "__" in path.name)


def _folder(name: str, known: dict[Path, list[str]]) -> Path:
    """Return the folder of a model in the first place that has it.

    Raises:
        ComparisonError: no place has it, or one has several models of the name.
    """
    wanted = name.replace("/", "__").replace(" ", "_")
    for place, models in known.items():
        if wanted in models:
            return place / wanted
    for place, models in known.items():
        same = [model for model in models if model.partition("__")[2] == wanted]
        if len(same) == 1:
            return place / same[0]
        if same:
            raise ComparisonError(
                f"--models {name!r}: {' and '.join(map(_name, same))} have this name; give the organisation, too"
            )
    every: dict[str, None] = {}
    for models in known.values():
        every |= dict.fromkeys(map(_name, models))
    raise ComparisonError(
        f"--models: none of the {len(every)} models with results has the name {name!r}{nearest(name, every)}; models that were "
        f"published since come with {FETCH}"
    )


def _name(folder: str) -> str:
    return folder.replace("__", "/", 1)
