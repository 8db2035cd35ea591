"""YAML whose keys stand once."""

from __future__ import annotations

import pytest
import yaml

from common.yaml_files import load_yaml


def test_yaml_may_merge_what_it_overrides():
    text = "b: &b {x: 1, y: 1}\no:\n  m: &m\n    <<: *b\n    x: 2\nt:\n  <<: *m\nw:\n  <<: *b\n  <<: {z: 1}\n1: a\n'1': b\n"
    assert load_yaml(text) == yaml.safe_load(text) and load_yaml(text)["t"] == {"x": 2, "y": 1}
    with pytest.raises(yaml.YAMLError, match="x stands in line 1 already"):
        load_yaml("t: {x: 1, <<: {y: 1}, x: 2}")
