"""YAML in which a key stands once: YAML itself would take the last of two without a word."""

from __future__ import annotations

from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value} stands in line {seen[key.value]} already: remove one of them", key.start_mark
                    )
                seen[key.value] = line
        return super().construct_mapping(node, deep=deep)


def load_yaml(text: str) -> Any:
    """Return what one YAML document holds.

    Raises:
        yaml.YAMLError: it is malformed, or a key stands twice in one mapping.
    """
    return yaml.load(text, Loader=_Loader)
