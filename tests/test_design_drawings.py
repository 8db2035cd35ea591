"""The page of designs has every design and system, and drawings that are up to date."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from model_loaders.designs import ALIASES, DESIGNS
from tests.tiny import ROOT

PAGE = ROOT / "docs" / "designs.md"


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_designs", ROOT / "docs" / "draw_designs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_drawings_are_up_to_date(draw: ModuleType) -> None:
    assert draw.main(["--check"]) == 0, "run python docs/draw_designs.py"


def test_a_stale_drawing_is_seen(draw: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "FOLDER", tmp_path)
    assert draw.main(["--check"]) == 1
    assert draw.main([]) == 0 and draw.main(["--check"]) == 0


def test_every_drawing_is_shown_and_every_file_is_drawn(draw: ModuleType) -> None:
    drawn = {f"designs/{drawing.name}.svg" for drawing in draw.DRAWINGS}
    files = {f"designs/{path.name}" for path in (ROOT / "docs" / "designs").iterdir()}
    shown = set(re.findall(r"\(([\w/]+\.svg)\)", PAGE.read_text(encoding="utf-8")))
    assert drawn == files == shown


def test_the_page_names_every_design() -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = [name for name in (*DESIGNS, *ALIASES) if f"`{name}`" not in text]
    assert not missing


def test_a_drawing_shows_the_attention_of_its_design(draw: ModuleType) -> None:
    for drawing in draw.DRAWINGS:
        svg = draw.svg_of(drawing)
        attention = DESIGNS[drawing.design].attention
        other = "causal" if attention == "bidirectional" else "bidirectional"
        assert f">{attention}</text>" in svg and f">{other}</text>" not in svg, drawing.name
        cells = svg.count("#6fa8dc")
        count = len(drawing.tokens)
        assert cells == (count * count if attention == "bidirectional" else count * (count + 1) // 2)
