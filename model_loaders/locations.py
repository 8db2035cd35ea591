"""Where base models and adapters lie: a directory, or a name on the Hugging Face hub."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

from model_loaders.errors import UserError

# Weights as safetensors, the tokenizer and JSON: nothing that could run code. attn_pool.pt is read with weights_only.
HUB_FILES = ["*.json", "*.safetensors", "tokenizer*", "*.model", "vocab*", "merges.txt", "attn_pool.pt"]

HUB_TIMEOUT = 8  # seconds


def resolve(name: str | Path, *, what: str, cache_dir: str | Path | None = None, needs: str) -> Path:
    """Return the local directory of ``name``; a hub name is downloaded (or taken from the cache) first.

    Args:
        name: a directory, or a hub name such as ``mistralai/Mistral-7B-v0.1``.
        what: "base model" or "adapter", for messages.
        cache_dir: the hub cache; ``None`` for the default one.
        needs: a file that must be there, such as ``config.json``.

    Raises:
        UserError: no such directory, no such hub name, or no network and not in the cache.
    """
    path = Path(name).expanduser()
    if path.exists():
        if not path.is_dir():
            raise UserError(f"the {what} {name} is a file; give the directory that holds {needs}")
        if not (path / needs).is_file():
            raise UserError(f"the {what} directory {name} has no {needs}; it holds: {listing(path)}")
        return path
    if looks_local(str(name)):
        raise UserError(f"there is no {what} directory {name}{neighbour(path)}")
    return download(str(name), what=what, cache_dir=cache_dir)


def looks_local(name: str) -> bool:
    """Whether ``name`` can only be meant as a path: hub names are ``name`` or ``owner/name``."""
    parts = name.split("/")
    return name.startswith(("/", ".", "~", os.sep)) or len(parts) > 2 or "" in parts or Path(parts[0]).is_dir() or "\\" in name


def download(name: str, *, what: str, cache_dir: str | Path | None) -> Path:
    """Fetch the files of a hub repository, or find them in the cache, and return their directory."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    trouble: Exception | None = None
    try:
        # snapshot_download asks the same without a timeout: where packets are dropped, it would wait for ever.
        huggingface_hub.model_info(name, timeout=HUB_TIMEOUT)
    except HFValidationError as error:
        raise UserError(f"{name!r} is neither a directory nor a valid hub name for a {what}") from error
    except Exception as error:
        trouble = error  # it may be in the cache
    try:
        snapshot = huggingface_hub.snapshot_download(
            name,
            cache_dir=cache_dir,
            allow_patterns=HUB_FILES,
            ignore_patterns=["consolidated*"],
            local_files_only=trouble is not None,
        )
    except Exception as error:
        # The hub client raises many kinds (HTTP status, connection, not in the cache); all mean the same to the user.
        raise UserError(
            f"the {what} {name!r} is no directory here, and could not be had from the hub: {first_line(trouble or error)}. "
            "Check the name and the network, or download it elsewhere and give the directory."
        ) from error
    return Path(snapshot)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or raise a UserError that names the file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} has no {path.name}; it holds: {listing(path.parent)}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no valid JSON ({error}); take a fresh copy") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no JSON object")
    return data


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type's name."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def listing(path: Path) -> str:
    """Return the names in a directory, a few of them, for messages."""
    names = sorted(entry.name for entry in path.iterdir())
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "") if names else "nothing"


def neighbour(path: Path) -> str:
    """Return a hint at the directory beside ``path`` that has the most similar name, or an empty string."""
    if not path.parent.is_dir():
        return f" (nor {path.parent})"
    match = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f" (did you mean {path.parent / match[0]}?)" if match else ""
