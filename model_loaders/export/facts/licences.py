"""Licences of a base LLM and of training data, as their cards state them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import huggingface_hub
import yaml
from huggingface_hub import constants

from model_loaders.hub import HUB_TIMEOUT, looks_local, split_revision
from model_loaders.layouts.known_models import published_models

FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def licence_of_base(name: str, revision: str = "", directory: Path | None = None) -> str:
    """Return a base LLM's licence: by the card in its folder, by our table of published models, or by the hub; else nothing."""
    if directory is not None and (licence := licence_in(directory / "README.md")):
        return licence
    published = published_models().get(name)
    if published is not None and published.models[name].licence:
        return published.models[name].licence
    if not name or looks_local(name) or Path(name).expanduser().exists():
        return ""
    return licence_on_hub(name, revision, "model")


def licence_of_data(name: str) -> str:
    """Return the licence of training data that lie on the hub, or whose folder has a card; else nothing."""
    path = Path(name).expanduser()
    if path.exists() or looks_local(name):
        return licence_in((path if path.is_dir() else path.parent) / "README.md")
    return licence_on_hub(name, "", "dataset")


def licence_in(card: Path) -> str:
    """Return the licence in the YAML block of a card; empty without one."""
    if not card.is_file():
        return ""
    block = FRONT.match(card.read_text(encoding="utf-8", errors="replace"))
    if block is None:
        return ""
    try:
        content = yaml.safe_load(block[1])
    except yaml.YAMLError:
        return ""
    return stated(content) if isinstance(content, dict) else ""


def licence_on_hub(name: str, revision: str, kind: str) -> str:
    """Return the licence that the hub states; empty where it states none, or cannot be asked within seconds."""
    if constants.HF_HUB_OFFLINE:
        return ""
    repository, asked = split_revision(name)
    try:
        about = huggingface_hub.repo_info(repository, revision=asked or revision or None, repo_type=kind, timeout=HUB_TIMEOUT)
    except (OSError, ValueError, huggingface_hub.errors.HTTPError):
        return ""
    card = about.card_data
    return "" if card is None else stated(card.to_dict())


def stated(card: dict[str, Any]) -> str:
    """Return the licence in the data of a card, with the name of one that the hub has no word for."""
    licence, other = card.get("license"), card.get("license_name")
    return str(other or licence or "")
