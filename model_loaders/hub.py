"""Names of base models and adapters: a directory, or a repository on the Hugging Face hub, also ``OWNER/NAME@REVISION``."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import UserError
from common.files import first_line, listing, neighbour
from model_loaders.bundle.check import check_bundled

# Weights as safetensors, the tokenizer and JSON: nothing that could run code. attn_pool.pt is read with weights_only.
HUB_FILES = ["*.json", "*.safetensors", "tokenizer*", "*.model", "vocab*", "merges.txt", "attn_pool.pt"]


OWN_CODE = "it needs code of its own, which this toolkit does not run: take a model whose type transformers itself knows"
ADAPTER_FILES = ("embedder.json", "adapter_config.json")
HUB_TIMEOUT = 8  # seconds


def split_revision(name: str | Path) -> tuple[str, str]:
    """Return a repository and the revision behind its name; that is empty for a directory and where none is given.

    >>> split_revision("Qwen/Qwen2-0.5B@c291d6f")
    ('Qwen/Qwen2-0.5B', 'c291d6f')
    """
    text = str(name)
    if "@" not in text or text.startswith(("/", ".", "~")) or Path(text).expanduser().exists():
        return text, ""
    repository, _, revision = text.partition("@")
    return repository, revision


def at_revision(name: str, revision: str) -> str:
    """Return a hub name with a revision; a directory, and a name without a known revision, as it is."""
    if not revision or "@" in name or looks_local(name) or Path(name).expanduser().exists():
        return name
    return f"{name}@{revision}"


def pinned(name: str, *, what: str, cache_dir: str | Path | None = None) -> str:
    """Return a hub name with the commit that it stands for today, after its files were fetched; a directory as it is.

    Raises:
        UserError: as ``resolve``.
    """
    if looks_local(name) or Path(name).expanduser().exists():
        return name
    return f"{split_revision(name)[0]}@{resolve(name, what=what, cache_dir=cache_dir).name}"


def resolve(name: str | Path, *, what: str, cache_dir: str | Path | None = None, needs: str = "") -> Path:
    """Return the local directory of ``name``; a hub name is downloaded (or taken from the cache) first.

    Args:
        name: a directory, or a hub name such as ``mistralai/Mistral-7B-v0.1``; ``@`` and a branch, tag or commit may follow.
        what: "base model" or "adapter", for messages.
        cache_dir: the hub cache; ``None`` for the default one.
        needs: a file that must be there, such as ``config.json``; empty where the caller looks itself.

    Raises:
        UserError: no such directory, no such hub name, or no network and not in the cache; or it is of an offline bundle, and
            its files are not those of the bundle.
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
        check_bundled(path, alone=True)
        return path
    if looks_local(str(name)):
        raise UserError(f"there is no {what} directory {name}{neighbour(path)}")
    directory = download(str(name), what=what, cache_dir=cache_dir)
    check_bundled(directory, alone=True)
    return directory


def needs_own_code(error: BaseException) -> bool:
    """Whether transformers refused to run code of a model's folder."""
    return "trust_remote_code" in str(error)


def looks_local(name: str) -> bool:
    """Whether ``name`` can only be meant as a path: hub names are ``name`` or ``owner/name``."""
    name, _ = split_revision(name)
    parts = name.split("/")
    return name.startswith(("/", ".", "~", os.sep)) or len(parts) > 2 or "" in parts or Path(parts[0]).is_dir() or "\\" in name


def download(name: str, *, what: str, cache_dir: str | Path | None) -> Path:
    """Fetch the files of a hub repository, or find them in the cache, and return their directory."""
    repository, revision = split_revision(name)
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    trouble: Exception | None = None
    try:
        # snapshot_download asks the same without a timeout: where packets are dropped, it would wait for ever.
        huggingface_hub.model_info(repository, revision=revision or None, timeout=HUB_TIMEOUT)
    except HFValidationError as error:
        raise UserError(f"{name!r} is neither a directory nor a valid hub name for a {what}") from error
    except Exception as error:
        trouble = error  # it may be in the cache
    try:
        snapshot = huggingface_hub.snapshot_download(
            repository,
            revision=revision or None,
            cache_dir=cache_dir,
            allow_patterns=HUB_FILES,
            ignore_patterns=["consolidated*"],
            local_files_only=trouble is not None,
        )
    except Exception as error:
        # The hub client raises many kinds (HTTP status, connection, not in the cache); all mean the same to the user.
        raise UserError(
            f"the {what} {name!r} is no directory here, and could not be had from the hub: {first_line(trouble or error)}. "
            "Check the name, the revision if one is given, and the network, or download it elsewhere and give the directory."
        ) from error
    return Path(snapshot)
