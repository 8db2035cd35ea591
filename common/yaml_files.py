"""YAML in which a key stands once: YAML itself would take the last of two without a word."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError

MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> Any:
        """Compose a mapping as it is written: what is merged into it (``<<``) may have its keys, too."""
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            name = (key.tag, key.value)
            if name in seen:
                problem = f"{key.value} stands in line {seen[name]} already: remove one of them"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen[name] = key.start_mark.line + 1
        return node


def load_yaml(text: str) -> Any:
    """Return what one YAML document holds.

    Raises:
        yaml.YAMLError: it is malformed, or a key stands twice in one mapping.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (TypeError, ValueError) as error:  # of a value that is not of its tag
        raise yaml.YAMLError(str(error)) from error


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
    with _root(path, "--config") as (loader, root):
        if root is None:
            return {}
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path}:{root.start_mark.line + 1}: expected lines of `flag: value`")
        return _entries(loader, root, path)


def read_list(path: str, flag: str) -> list[tuple[str, dict[str, Entry]]]:
    """Read a YAML list of mappings; returns of each where it begins (``file:line``), and its entries.

    Raises:
        UserError: as `read_config`; ``flag`` is how the error calls the file.
    """
    with _root(path, flag) as (loader, root):
        if not isinstance(root, yaml.SequenceNode) or not root.value:
            line = "" if root is None else f":{root.start_mark.line + 1}"
            raise UserError(f"{path}{line}: expected a list, each entry beginning with `- name: ...`")
        found = []
        for node in root.value:
            where = f"{path}:{node.start_mark.line + 1}"
            if not isinstance(node, yaml.MappingNode):
                raise UserError(f"{where}: expected an entry of `key: value`, beginning with `- name: ...`")
            found.append((where, _entries(loader, node, path)))
        return found


@contextlib.contextmanager
def _root(path: str, flag: str) -> Iterator[tuple[yaml.SafeLoader, yaml.Node | None]]:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{flag} {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    loader = yaml.SafeLoader(text)
    try:
        yield loader, loader.get_single_node()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise UserError(f"{path}{line}: no valid YAML: {getattr(error, 'problem', None) or error}") from error
    finally:
        loader.dispose()


def _entries(loader: yaml.SafeLoader, node: yaml.MappingNode, path: str) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True)).removeprefix("--").replace("-", "_")
        where = f"{path}:{key_node.start_mark.line + 1}"
        if key in entries:
            raise UserError(f"{where}: {key} is already set in {entries[key].where}: remove one of them")
        entries[key] = Entry(loader.construct_object(value_node, deep=True), where)
    return entries
