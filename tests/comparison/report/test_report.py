"""The report of a whole study: one file that asks for nothing, whose names are texts, and that says everything it has."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from comparison.__main__ import main
from tests.comparison.conftest import Write
from tests.comparison.report.made_up import HOSTILE, HOSTILE_TASK, write_study

VOID = {"meta", "br", "img", "input", "link", "hr", "path", "use", "rect", "image", "line", "circle"}
IGNORED = {"style", "title", "head"}


class Page(HTMLParser):
    """Tags with their attributes, and the text that a reader sees."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in IGNORED:
            self.text += data

    def all(self, *names: str) -> list[tuple[str, dict[str, str]]]:
        return [(tag, attributes) for tag, attributes in self.tags if tag in names]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_study(folder / "study", queries=12, steps=200, looking=1)
    assert main([str(folder / "study"), "--unrelated", "--output_dir", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    return Page(out / "report.html")


def test_nothing_is_asked_for(page: Page) -> None:
    assert not page.all("script", "img", "link", "iframe", "object", "embed", "base", "form")
    for tag, attributes in page.tags:
        for key, value in attributes.items():
            assert not key.startswith("on"), f"<{tag} {key}>"
            if key in ("href", "src", "action", "data", "poster", "background"):
                assert value.startswith(("#", "data:image/png;base64,")), f"<{tag} {key}={value[:60]}>"
    raw = next(content for tag, content in page.all("meta") if content.get("http-equiv"))
    assert raw["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_no_address_in_styles(out: Path) -> None:
    text = (out / "report.html").read_text(encoding="utf-8")
    styles = "".join(re.findall(r"<style>.*?</style>|style=\"[^\"]*\"", text, flags=re.DOTALL))
    assert "@import" not in styles and not re.search(r"url\((?!#)", styles)
    assert "xmlns" not in text and "<!DOCTYPE svg" not in text and "w3.org" not in text


def test_the_page_is_well_formed(page: Page) -> None:
    assert page.open == [], "everything that was opened is closed"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "an id stands once"
    targets = [attributes["href"][1:] for _, attributes in page.tags if attributes.get("href", "").startswith("#")]
    assert targets and set(targets) <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels)), "no level is skipped"


def test_plots_and_tables_can_be_read_aloud(page: Page) -> None:
    plots = [attributes for tag, attributes in page.all("svg")]
    assert len(plots) >= 10
    for attributes in plots:
        assert attributes["role"] == "img" and len(attributes["aria-label"]) > 40
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(attributes.get("scope") in ("col", "row") for _, attributes in page.all("th"))
    assert ("html", {"lang": "en"}) in page.tags
    for _, attributes in page.all("div"):
        if "scroll" in attributes.get("class", ""):  # a keyboard can scroll it, and a reader hears what it is
            assert attributes["tabindex"] == "0" and attributes["aria-label"]


def test_hostile_names_are_texts(page: Page, out: Path) -> None:
    for name in [HOSTILE[1], HOSTILE[2], HOSTILE[5], HOSTILE[6], HOSTILE[7], HOSTILE_TASK]:
        assert name in page.text, name
    assert "two lines and" in page.text and "\ufffd[31mcontrols" in page.text and "\u202e" not in page.text
    assert f"\u2068{HOSTILE[4]}\u2069" in page.text, "isolated, so that its neighbours keep their order"
    assert "<script>alert('reason')</script>" in page.text and "out of memory & <i>more</i>" in page.text
    assert "--note '<script>alert(5)</script>'" in page.text and "onerror=alert(4)" in page.text
    assert "The grid <script>alert('title')</script>" in page.text
    raw = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in raw and "<img" not in raw and "<b onclick" not in raw


def test_every_section_stands_in_its_order(page: Page) -> None:
    sections = [attributes["id"] for tag, attributes in page.all("section")]
    assert sections == [
        "answer",
        "table",
        "gains",
        "forest",
        "grid",
        "tasks",
        "items",
        "cost",
        "training",
        "attention",
        "findings",
        "warnings",
        "recipe",
        "paper",
        "again",
    ]
    for said in (
        "diverged; it is not dropped", "failed; its tasks count as failed", "812 of 3,108 (26.1%)",
        "stand in the training data",
        "were cut to 256 tokens", "has 6 of 7 tasks of STS", "lora.target_modules", "sha256:0f0f", "gpu <driver>", "Layer ",
        "Not separated", "Where scores vary",
    ):  # fmt: skip
        assert said in page.text, said


def test_findings_are_shown_under_the_names_of_systems(page: Page, out: Path) -> None:
    for said in ("Tuning & more", "<b>Three</b> settings.", "A table alone", "1.5 <img src=x>", "low <i>"):
        assert said in page.text, said
    assert len(list((out / "plots").glob("finding-*.svg"))) == 2


def test_claims_about_runs_speak_of_designs_where_training_was_repeated(page: Page) -> None:
    assert "Training was repeated" in page.text and "This speaks of designs" in page.text
    assert "pooled over designs" not in page.text, "nobody borrows noise"
    assert "cannot be decided with 4 families" in page.text


def test_plots_are_files_too(out: Path) -> None:
    vectors = sorted((out / "plots").glob("*.svg"))
    assert {"overview", "tasks", "cost", "training", "loss", "forest-retrieval", "forest-sts"} <= {
        path.stem for path in vectors
    }
    for path in vectors:
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert not [one for one in root.iter() if one.tag.endswith("}script")]
    texts = [element.text for element in ElementTree.parse(out / "plots" / "forest-sts.svg").iter() if element.text]
    assert any("</script>" in text for text in texts)
    assert any("\\frac" in text for text in texts), "no mathematics is made of a name"


def test_a_large_study_fits(out: Path) -> None:
    assert (out / "report.html").stat().st_size < 3 * 2**20


def test_the_table_of_the_paper_is_the_comparison(out: Path) -> None:
    found = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    with (out / "table.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8 * 4
    for category in found["categories"]:
        base, *others = [row for row in rows if row["kind"] == category["name"]]
        assert base["baseline"] == "True" and float(base["value"]) == pytest.approx(category["means"][found["baseline"]])
        for row, one in zip(others, category["contrasts"], strict=True):
            assert float(row["value"]) == pytest.approx(one["by_task"]["mean"])
            partial = one["mark"] == "o" and len(one["these_tasks"]["tasks"]) < one["by_task"]["units"]
            assert row["mark"] == ("" if partial else one["mark"])
            assert int(row["tasks"]) == one["by_task"]["units"]
    marks = {row["mark"] for row in rows}
    assert {"*", "**", ""} <= marks, "the made-up study has all of them"


def test_latex_is_literal(out: Path) -> None:
    text = (out / "table.tex").read_text(encoding="utf-8")
    assert r"a\$x\textasciicircum{}2\$ \& " in text and r"\textbackslash{}frac" in text
    assert r"\textless{}script\textgreater{}" in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert {line.count("&") - line.count(r"\&") for line in body.splitlines() if "&" in line} == {4}


def test_without_a_study_file_a_line_says_what_is_missing(write: Write, tmp_path: Path) -> None:
    root = write({"o/base": {"NQ": 0.5, "STS12": 0.4}, "o/good": {"NQ": 0.6, "STS12": 0.5}})
    assert main([str(root), "--output_dir", str(tmp_path / "out")]) == 0
    page = Page(tmp_path / "out" / "report.html")
    for said in ("No costs are known", "No training curves", "No attention", "Nothing was measured beside scores",
                 "Recipe, versions and data are not known",
                 "One run of each is known", "Not known: whether training texts stand in the tests"):  # fmt: skip
        assert said in page.text
    assert "python -m comparison" in page.text
    assert len(page.all("section")) == 15


def test_systems_without_a_common_task_are_no_reason_to_fail(write: Write, tmp_path: Path) -> None:
    root = write({"o/one": {"NQ": 0.5}, "o/other": {"STS12": 0.6}})
    for flags in ([], ["--all_pairs"]):
        assert main([str(root), *flags, "--output_dir", str(tmp_path / "out")]) == 0
        page = Page(tmp_path / "out" / "report.html")
        assert "No two compared systems have a common task" in page.text and not page.all("svg")


def test_the_same_results_give_the_same_bytes(write: Write, tmp_path: Path) -> None:
    root = write({"o/base": {"NQ": 0.5, "FEVER": 0.4}, "o/good": {"NQ": 0.6, "FEVER": 0.5}})
    contents: list[dict[str, Any]] = []
    for _ in range(2):
        assert main([str(root), "--output_dir", str(tmp_path / "out")]) == 0
        files = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
        contents.append({str(path): path.read_bytes() for path in files})
    assert contents[0] == contents[1] and len(contents[0]) >= 9
