"""Names of base models and adapters: a directory, or a repository on the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import UserError
from common.files import first_line, listing, neighbour

# Weights as safetensors, the tokenizer and JSON: nothing that could run code. attn_pool.pt is read with weights_only.
HUB_FILES = ["*.json", "*.safetensors", "tokenizer*", "*.model", "vocab*", "merges.txt", "attn_pool.pt"]


OWN_CODE = "it needs code of its own, which this toolkit does not run: take a model whose type transformers itself knows"
ADAPTER_FILES = ("embedder.json", "adapter_config.json")
HUB_TIMEOUT = 8  # seconds


def resolve(name: str | Path, *, what: str, cache_dir: str | Path | None = None, needs: str = "") -> Path:
    """Return the local directory of ``name``; a hub name is downloaded (or taken from the cache) first.

    Args:
        name: a directory, or a hub name such as ``mistralai/Mistral-7B-v0.1``.
        what: "base model" or "adapter", for messages.
        cache_dir: the hub cache; ``None`` for the default one.
        needs: a file that must be there, such as ``config.json``; empty where the caller looks itself.

    Raises:
        UserError: no such directory, no such hub name, or no network and not in the cache.
    """
    path = Path(name).expanduser()
    if path.exists():
        if not path.is_dir():
            raise UserError(f"the {what} {name} is a file; give the directory that holds {needs or 'it'}")
        if needs and not (path / needs).is_file():
            adapter = [name for name in ADAPTER_FILES if (path / name).is_file()]
            if what == "base model" and adapter:
                raise UserError(
                    f"the base model directory {name} has no {needs} but {adapter[0]}: it is an adapter. Give the base "
                    "model that it stands on; the adapter is loaded with model_loaders.load, or trained on with "
                    "--peft_model_name_or_path."
                )
            raise UserError(f"the {what} directory {name} has no {needs}; it holds: {listing(path)}")
        return path
    if looks_local(str(name)):
        raise UserError(f"there is no {what} directory {name}{neighbour(path)}")
    return download(str(name), what=what, cache_dir=cache_dir)


def needs_own_code(error: BaseException) -> bool:
    """Whether transformers refused to run code of a model's folder."""
    return "trust_remote_code" in str(error)


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
