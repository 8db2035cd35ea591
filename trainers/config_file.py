"""A YAML file whose keys are the flags, read with the line of every key so that errors can name it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from model_loaders.errors import UserError


@dataclass(frozen=True)
class Entry:
    """The value of a key, and where it stands (``file:line``)."""

    value: Any
    where: str


def read_config(path: str) -> dict[str, Entry]:
    """Read a flat YAML mapping of flags to values.

    Raises:
        UserError: no such file, no YAML, no mapping, or a key that is there twice (YAML would take the last one).
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return {}
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path}:{root.start_mark.line + 1}: expected lines of `flag: value`")
        entries: dict[str, Entry] = {}
        for key_node, value_node in root.value:
            key = str(loader.construct_object(key_node, deep=True)).removeprefix("--").replace("-", "_")
            where = f"{path}:{key_node.start_mark.line + 1}"
            if key in entries:
                raise UserError(f"{where}: {key} is already set in {entries[key].where}: remove one of them")
            entries[key] = Entry(loader.construct_object(value_node, deep=True), where)
        return entries
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise UserError(f"{path}{line}: no valid YAML: {getattr(error, 'problem', None) or error}") from error
    finally:
        loader.dispose()
