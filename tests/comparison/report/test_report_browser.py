"""The report in a headless Chromium: it asks for nothing, complains of nothing, fits a phone, and runs no name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from comparison.__main__ import main
from tests.comparison.conftest import Write, write_result
from tests.comparison.report.browser import Browser, browse, find_chromium
from tests.comparison.report.made_up import HOSTILE, write_study

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium")]
DESKTOP, PHONE = 1280, 390


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = find_chromium()
    assert chromium is not None
    with browse(chromium) as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    write_study(folder / "study")
    assert main([str(folder / "study"), "--unrelated", "--output_dir", str(folder / "out")]) == 0
    return folder / "out" / "report.html"


def check(browser: Browser, path: Path, width: int, dark: bool) -> None:
    """Open a page and check what holds for every page."""
    browser.open(path, width, dark=dark, phone=width == PHONE)
    assert browser.complaints() == []
    assert [url for url in browser.requested() if not url.startswith("data:")] == [path.resolve().as_uri()]
    assert browser.value("document.querySelectorAll('script, img, iframe, [onclick], [onerror]').length") == 0
    assert browser.value("document.documentElement.scrollWidth") == width, "only plots and tables scroll, never the page"
    assert browser.value("document.title") and browser.value("document.compatMode") == "CSS1Compat"
    browser.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.value("document.documentElement.scrollWidth") == width, "with all tables open, too"
    browser.value("document.querySelectorAll('details').forEach(one => one.open = false)")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE, 320], ids=["desktop", "phone", "small"])
def test_a_whole_study(browser: Browser, report: Path, width: int, dark: bool, tmp_path: Path) -> None:
    check(browser, report, width, dark)
    browser.screenshot(tmp_path / "page.png", whole=False)
    assert (tmp_path / "page.png").stat().st_size > 10_000
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    ink = browser.value("getComputedStyle(document.querySelector('svg.plot text')).fill")
    assert ink == ("rgb(232, 234, 237)" if dark else "rgb(27, 30, 35)"), "plots follow the page"


def test_names_are_shown_as_they_are(browser: Browser, report: Path) -> None:
    browser.open(report, DESKTOP)
    text = browser.value("document.body.textContent")
    for name in (HOSTILE[1], HOSTILE[2], HOSTILE[7]):
        assert name in text


def test_plots_and_headings_in_the_accessibility_tree(browser: Browser, report: Path) -> None:
    browser.open(report, DESKTOP)
    nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]
    images = [node for node in nodes if node.get("role", {}).get("value") in ("image", "img") and not node.get("ignored")]
    plots = browser.value("document.querySelectorAll('svg.plot').length")
    assert len(images) == plots > 10, "nothing inside a plot is an image of its own"
    assert all(len(node["name"]["value"]) > 40 for node in images)
    levels = [
        next(one["value"]["value"] for one in node["properties"] if one["name"] == "level")
        for node in nodes
        if node.get("role", {}).get("value") == "heading"
    ]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))


def test_texts_of_plots_are_large_enough_on_a_phone(browser: Browser, report: Path) -> None:
    browser.open(report, PHONE, phone=True)
    sizes = browser.value(
        "[...document.querySelectorAll('svg.plot')].map(svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)"
    )
    assert min(sizes) > 1, "7.5 points are never smaller than 7.5 pixels"
    forests = browser.value(
        "[...document.querySelectorAll('#forest svg.plot')].map(svg => svg.getBoundingClientRect().width <= "
        "svg.parentElement.clientWidth + 1)"
    )
    assert forests and all(forests), "forest plots need no scrolling"
    scales = browser.value(
        "[...document.querySelectorAll('#forest svg.plot')].map(svg => svg.getBoundingClientRect().width / "
        "svg.viewBox.baseVal.width)"
    )
    assert min(scales) * 8.5 > 10.5, "their letters have eleven pixels"


def test_forest_plots_use_the_width(browser: Browser, report: Path) -> None:
    browser.open(report, DESKTOP)
    tops = browser.value("[...document.querySelectorAll('#forest svg.plot')].map(svg => svg.getBoundingClientRect().top)")
    assert abs(tops[0] - tops[1]) < 60, "two beside each other"
    browser.value("document.querySelector('#forest details').open = true")
    tops = browser.value("[...document.querySelectorAll('#forest svg.plot')].map(svg => svg.getBoundingClientRect().top)")
    assert tops[1] - tops[0] > 300, "open numbers have the whole width"


SEVEN_KINDS = ["NQ", "STS12", "Banking77Classification", "RedditClustering", "TwitterSemEval2015", "SciDocsRR", "SummEval"]
CUT = "[...document.querySelectorAll('%s')].filter(one => one.scrollWidth > one.parentElement.clientWidth + 1).length"


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seven")
    for number in range(4):
        for task in SEVEN_KINDS:
            write_result(folder / "results" / f"o__a-model-with-quite-a-long-name-v{number}" / "r", task, 0.5 + number / 100)
    assert main([str(folder / "results"), "--output_dir", str(folder / "out")]) == 0
    return folder / "out" / "report.html"


def test_a_wide_table_uses_the_width_and_says_where_it_scrolls(browser: Browser, seven: Path) -> None:
    browser.open(seven, 1400)
    assert browser.value("document.querySelectorAll('.paper th').length") > 7 and browser.value(CUT % ".paper") == 0
    hints = "[...document.querySelectorAll('#table .hint')].map(one => getComputedStyle(one).display)"
    assert browser.value(hints) == ["none"]
    browser.open(seven, PHONE, phone=True)
    assert browser.value(CUT % ".paper") > 0 and browser.value(hints) == ["block"]
    assert "7 kinds of task: scroll sideways" in browser.value("document.querySelector('#table .hint').textContent")
    assert browser.value("document.documentElement.scrollWidth") == PHONE


def test_it_prints_in_light_colours(browser: Browser, report: Path, tmp_path: Path) -> None:
    browser.open(report, DESKTOP, dark=True)
    browser.print(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    browser.ask("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.value("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_a_whole_study_prints_on_few_pages(browser: Browser, report: Path, tmp_path: Path) -> None:
    browser.open(report, DESKTOP)
    browser.print(tmp_path / "report.pdf")
    pages = re.findall(rb"/Type\s*/Page\b", (tmp_path / "report.pdf").read_bytes())
    assert 5 < len(pages) <= 12
    shown = browser.value("[...document.querySelectorAll('header svg.plot')].map(svg => svg.getBoundingClientRect().bottom)")
    assert len(shown) == 1 and shown[0] < 900, "the picture stands in the first screen"


def test_tables_fit_on_paper(browser: Browser, report: Path, seven: Path) -> None:
    for path in (report, seven):
        browser.open(path, 718)
        browser.ask("Emulation.setEmulatedMedia", media="print")
        assert browser.value(CUT % "table") == 0 and browser.value("document.documentElement.scrollWidth") == 718
        shown = [browser.value(f"getComputedStyle(document.querySelector('{one}')).display") for one in (".printed", ".hint")]
        assert shown == ["block", "none"] and "report.html" in browser.value("document.querySelector('.printed').textContent")
        browser.ask("Emulation.setEmulatedMedia", media="")


def test_a_comparison_without_a_study(browser: Browser, write: Write, tmp_path: Path) -> None:
    tasks = {f"T{number}": 0.5 + number / 100 for number in range(8)}
    models = {f"o/model-{'long-' * 12}{n}": {task: score + n / 50 for task, score in tasks.items()} for n in range(9)}
    root = write(models)
    assert main([str(root), "--all_pairs", "--output_dir", str(tmp_path / "out")]) == 0
    for width in (DESKTOP, PHONE):
        check(browser, tmp_path / "out" / "report.html", width, dark=False)
