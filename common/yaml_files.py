"""YAML in which a key stands once: YAML itself would take the last of two without a word."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from common.lines import read_text
from common.number_check import MOST_DIGITS, is_number
from common.printable import shown

MERGE = "tag:yaml.org,2002:merge"


MOST_VALUES = 1_000_000  # of a file, those counted twice that stand in it twice by alias
DEEPEST = 100  # mappings and lists in each other


class OnceLoader(yaml.SafeLoader):
    """YAML's safe loader, to which a key that stands twice in a mapping is an error.

    So are values that do not fit their tags, lists and mappings that hold themselves, and aliases that multiply without end.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._sizes: dict[yaml.Node, int] = {}  # values in a node that is whole
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, and count what it holds."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.constructor.ConstructorError(None, None, f"more than {DEEPEST} levels deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None or node in self._sizes:
            return node
        children: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            for pair in node.value:
                children += pair
        if not isinstance(node.end_mark, yaml.Mark) or not all(child in self._sizes for child in children):
            raise yaml.constructor.ConstructorError(None, None, "an alias stands inside of what it names", mark)
        self._sizes[node] = 1 + sum(self._sizes[child] for child in children)
        if self._sizes[node] > MOST_VALUES:
            raise yaml.constructor.ConstructorError(None, None, f"more than {MOST_VALUES:,} values", mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return a node's value; whatever YAML cannot make of a scalar is an error of YAML, with its place."""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"{shown(node.value)} is no value of the kind {kind}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error
        if type(value) is int and not is_number(value):
            problem = f"a whole number of more than {MOST_DIGITS} digits"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return value

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
    return yaml.load(text, Loader=OnceLoader)


def read_yaml(path: str | Path, flag: str) -> Any:
    """Return what a file of one YAML document holds.

    Raises:
        UserError: no such file, no UTF-8, no YAML, or a key that stands twice; it names file and line. ``flag`` is how the
            error calls a file that cannot be read.
    """
    with _opened(str(path), flag) as (loader, root):
        return None if root is None else loader.construct_document(root)


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
        text = read_text(Path(path).expanduser())
    except OSError as error:
        raise UserError(f"{flag} {path} cannot be read: {error.strerror or error}") from error
    try:
        loader = OnceLoader(text)
        try:
            yield loader, loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise UserError(f"{path}{_fault(error, text)}") from error


def _fault(error: yaml.YAMLError, text: str) -> str:
    """Return the line and the reason of an error of YAML."""
    if isinstance(error, yaml.reader.ReaderError):
        number = text.count("\n", 0, error.position) + 1
        return f":{number}: no valid YAML: the character {chr(error.character)!r} is not allowed"
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark is not None else ""
    return f"{line}: no valid YAML: {getattr(error, 'problem', None) or error}"


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
