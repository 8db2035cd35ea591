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


class OnceLoader(yaml.SafeLoader):
    """YAML's safe loader, to which a key that stands twice in a mapping is an error."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Compose a mapping as it is written: what is merged into it (``<<``) may have its keys, too."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            name = (key.tag, key.value)
            if name in lines:
                problem = f"{key.value} stands in line {lines[name]} already: remove one of them"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            lines[name] = key.start_mark.line + 1
        return node


def load_yaml(text: str) -> Any:
    """Return what one YAML document holds.

    >>> load_yaml("learning_rate: 1.0e-5")
    {'learning_rate': 1e-05}

    Raises:
        yaml.YAMLError: it is malformed, or a key stands twice in one mapping.
    """
    try:
        return yaml.load(text, Loader=OnceLoader)
    except (TypeError, ValueError) as error:  # a value does not fit its tag
        raise yaml.YAMLError(str(error)) from error


@dataclass(frozen=True)
class Entry:
    """The value of a key, and where it stands (``file:line``)."""

    value: Any
    where: str


def read_config(path: str) -> dict[str, Entry]:
    """Read a flat YAML mapping of flags to values.

    Raises:
        UserError: no such file, no YAML, no mapping, or a key that stands twice.
    """
    with _opened(path, "--config") as (loader, root):
        if root is None:
            return {}
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path}:{root.start_mark.line + 1}: expected lines of `flag: value`")
        return _entries(loader, root, path)


def read_list(path: str, flag: str) -> list[tuple[str, dict[str, Entry]]]:
    """Read a YAML list of mappings; return where each begins (``file:line``), and its entries.

    Raises:
        UserError: as `read_config`; ``flag`` is how the error calls the file.
    """
    with _opened(path, flag) as (loader, root):
        if not isinstance(root, yaml.SequenceNode) or not root.value:
            line = "" if root is None else f":{root.start_mark.line + 1}"
            raise UserError(f"{path}{line}: expected a list, each entry beginning with `- name: ...`")
        mappings = []
        for node in root.value:
            where = f"{path}:{node.start_mark.line + 1}"
            if not isinstance(node, yaml.MappingNode):
                raise UserError(f"{where}: expected an entry of `key: value`, beginning with `- name: ...`")
            mappings.append((where, _entries(loader, node, path)))
        return mappings


@contextlib.contextmanager
def _opened(path: str, flag: str) -> Iterator[tuple[OnceLoader, yaml.Node | None]]:
    """Yield a file's loader and the root of its document; errors of YAML inside the block name file and line."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{flag} {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    loader = OnceLoader(text)
    try:
        yield loader, loader.get_single_node()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise UserError(f"{path}{line}: no valid YAML: {getattr(error, 'problem', None) or error}") from error
    finally:
        loader.dispose()


def _entries(loader: OnceLoader, node: yaml.MappingNode, path: str) -> dict[str, Entry]:
    """Return the values by flag; ``--chunk-tokens`` and ``chunk_tokens`` are one flag."""
    entries: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True)).removeprefix("--").replace("-", "_")
        where = f"{path}:{key_node.start_mark.line + 1}"
        if key in entries:
            raise UserError(f"{where}: {key} is already set in {entries[key].where}: remove one of them")
        entries[key] = Entry(loader.construct_object(value_node, deep=True), where)
    return entries
