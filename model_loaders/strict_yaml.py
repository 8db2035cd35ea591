"""YAML in which a key stands once: YAML itself would take the last of two without a word."""

from __future__ import annotations

from typing import Any

import yaml

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
