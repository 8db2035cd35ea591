"""Parts of the report: names made harmless, colours that follow the page, curves, attention, costs and warnings."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from common.printable import printable
from comparison.reading.study_data import AttentionMass, CellData, CurvePoint, LeakedTexts, StudyData, Truncation
from comparison.reading.systems import StudyResults
from comparison.report.facts import flat
from comparison.report.page import TEMPLATES, itemised, make_empty_page
from comparison.report.plots import attention, cost, curves
from comparison.report.plots.drawing import COLOURS, Series, inline, render, style
from comparison.report.tables.columns import CLAIMS, COLUMNS, CSV, PAGE, Column, heads, pairs_of, records, texts
from comparison.report.tables.paper_table import make_table
from comparison.report.tables.paper_text import as_latex
from comparison.report.words.cautions import cautions, quiet
from comparison.report.words.names import latex, listed, name, short_names, shorten, slugs
from comparison.report.words.wording import chance
from comparison.report.write import draw
from tests.comparison.report.outcomes import made_up
from tests.tiny import ROOT


def test_names_are_one_line_without_signs_that_turn_directions() -> None:
    assert name("a\n b\t\x00c\u202e\ufeff") == "a b \ufffdc"
    assert name("עברית") == "\u2068עברית\u2069" and name("\u2069עברית\u2068") == "\u2068עברית\u2069"
    assert printable("half \ud800 emoji 👩\u200d🔬") == "half \ufffd emoji 👩\u200d🔬"
    assert shorten("x" * 200, 11) == "xxxxx…xxxxx" and len(shorten("עברית" * 20, 11)) == 13
    assert listed(["a", "b", "c"], "or") == "a, b or c" and listed([]) == ""


def test_labels_and_files_stay_apart() -> None:
    long = [f"{'x' * 40}-{number}-{'y' * 40}" for number in range(3)]
    assert len(set(short_names(long, 20).values())) == 3 and max(map(len, short_names(long, 20).values())) <= 20
    assert list(slugs(["../../etc", "..", "A B", "a-b", "<>"]).values()) == ["etc", "unnamed", "a-b", "a-b-2", "unnamed-2"]


def test_latex_prints_names_literally() -> None:
    assert latex(r"\input{a_b} 50% $x^2$ #1 ~ <&>") == (
        r"\textbackslash{}input\{a\_b\} 50\% \$x\textasciicircum{}2\$ \#1 \textasciitilde{} \textless{}\&\textgreater{}"
    )


def test_latex_takes_no_name_for_an_option() -> None:
    text = as_latex(make_table(made_up({"[2em]": 0.01, "*star": 0.02})))
    assert "{[2em]} & " in text and "{*star} & " in text and "\n[" not in text and latex("a---b") == "a-{}-{}-b"


def test_inline_plots_follow_the_page_and_leave_texts_alone() -> None:
    hostile = f'{COLOURS["s0"]} url(#x) id="y" <b>&amp;</b> $x$'
    with style():
        figure = Figure(figsize=(3, 2))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=COLOURS["s0"])
        axes.set_title(hostile)
        svg, png = render(figure)
    inside, width = inline(svg, "p")
    assert "var(--s0)" in inside and "var(--font)" in inside and 150 < width < 300 and png[:4] == b"\x89PNG"
    element = ElementTree.fromstring(f"<svg {inside}")
    assert hostile in [one.text for one in element.iter()], "a name that looks like a colour stays what it is"
    assert all(one.attrib["id"].startswith("p-") for one in element.iter() if "id" in one.attrib)
    assert COLOURS["s0"] in svg, "the file has colours of its own"


def test_every_colour_has_a_dark_one() -> None:
    assert len(set(COLOURS.values())) == len(COLOURS), "inline, a colour is known by its value"
    dark = (TEMPLATES / "style.css").read_text(encoding="utf-8").split("prefers-color-scheme: dark")[1].split("\n}\n")[0]
    assert not [variable for variable in COLOURS if f"--{variable}:" not in dark]


def contrast_ratio(one: str, other: str) -> float:
    """Return WCAG's ratio of two colours."""

    def light(colour: str) -> float:
        colour = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_texts_can_be_read_on_their_colours() -> None:
    css = (TEMPLATES / "style.css").read_text(encoding="utf-8").split("prefers-color-scheme: dark")[1].split("\n}\n")[0]
    dark = {part.split(":")[0].strip(): part.split(":")[1].strip() for part in css.split("{")[2].split(";") if ":" in part}
    for colours in (COLOURS, {key.removeprefix("--"): value for key, value in dark.items()}):
        for step in range(9):
            assert contrast_ratio(colours[f"h{step}"], colours[f"t{step}"]) >= 4.5, (step, colours[f"h{step}"])
        for line in ("ink", "muted"):
            assert contrast_ratio(colours[line], colours["paper"]) >= 4.5
        for series in range(8):
            assert contrast_ratio(colours[f"s{series}"], colours["paper"]) >= 3, f"s{series}"


def point(step: int, loss: float | None = 1.0) -> CurvePoint:
    return CurvePoint(step, loss, grad_norm=1.0, accuracy=0.5, mean_cosine=0.5, margin=0.2, effective_rank=5.0)


def test_a_diverged_run_is_drawn_and_does_not_squash_the_others() -> None:
    healthy = CellData("a-1", "a", curve=[point(step, 5 - step / 10) for step in range(1, 41)])
    diverged = CellData("a-2", "a", status="diverged", curve=[*(point(step) for step in range(1, 9)), point(9, 1e30)])
    with style():
        plot = curves.draw_curves({"a": [healthy, diverged]}, "training")
        assert curves.draw_curves({"a": [CellData("a-3", "a")]}, "training") is None
    assert plot is not None and "a-2 did not come to its end" in plot.alt
    assert [row[1:6] for row in plot.rows] == [["a-1", "done", "40", "4.9", "1"], ["a-2", "diverged", "9", "1", "1e+30"]]
    box = ElementTree.fromstring(plot.svg).attrib["viewBox"].split()
    assert float(box[3]) < 1200, "a point far away does not make the plot tall"


def test_runs_that_collapsed_are_named() -> None:
    """By cosine and margin together, or by rank; at any step, although the run may have recovered."""
    together = CurvePoint(1, 1.0, mean_cosine=0.995, margin=0.001, grad_norm=400.0)
    collapsed = CellData("a-1", "a", curve=[together, point(2)])
    flat_batch = CellData("a-2", "a", curve=[CurvePoint(1, 1.0, effective_rank=1.5), point(2)])
    narrow = CellData("a-3", "a", curve=[CurvePoint(1, 1.0, mean_cosine=0.995, margin=0.2, effective_rank=2.5)])
    with style():
        plot = curves.draw_curves({"a": [collapsed, flat_batch, narrow]}, "training")
        healthy = curves.draw_curves({"a": [narrow]}, "training")
    assert plot is not None and "They had, at some step, in a-1 and a-2." in plot.caption
    assert healthy is not None and "They had" not in healthy.caption
    assert ">100<" in plot.svg, "an axis of norms from 1 to 400 has ticks"


def test_the_middle_of_runs_is_drawn_so_that_systems_do_not_hide_each_other() -> None:
    steps = np.arange(10)
    spike = np.where(steps == 5, 99.0, steps)
    found = curves.middle([(steps, steps * 1.0), (steps, spike), (steps[:8], steps[:8] * 1.0), (np.empty(0), np.empty(0))])
    assert found[0].tolist() == list(range(8)), "at the steps that all have"
    assert found[1].tolist() == list(range(8)), "neither a spike nor the ends bend it"
    assert curves.middle([])[0].size == 0
    dashes = [curves.dash(number, 3) for number in range(3)]
    assert [offset for offset, _ in dashes] == [0, 3, 6] and all(part == (3, 6) for _, part in dashes), "they take turns"
    assert curves.dash(0, 1) == "-" and curves.dash(8, 9) == curves.DASHES[1]
    cells = {one: [CellData(f"{one}-{seed}", one, curve=[point(1), point(2)]) for seed in (1, 2)] for one in "ab"}
    with style():
        plot = curves.draw_curves(cells, "training")
    assert plot is not None and plot.svg.count("stroke-width: 1.5") == 2 * 6, "one thick line a system and panel"


def test_titles_of_small_maps_do_not_touch() -> None:
    cells = [f"model{number}-with-a-very-long-name-seed{number}" for number in range(4)]
    with style():
        plot = attention.draw_rows("s", "head", [AttentionMass(cell, "t", "head", [[0.5, 0.5]]) for cell in cells], "x")
    lines = [one.text for one in ElementTree.fromstring(plot.svg).iter() if one.text and "model" in one.text]
    assert len(lines) == 4 and max(map(len, lines)) <= 12


def test_the_axis_is_of_the_healthy_runs() -> None:
    axes = Figure().add_subplot()
    axes.plot([1, 2, 3], [5, 4, 1e30])
    curves.finish(axes, curves.PANELS[0], [np.array([5.0, 1.0])])
    assert axes.get_ylim()[1] < 10
    curves.mark_ends(axes, [(np.array([3]), np.array([1e30]))])
    assert axes.lines[-1].get_ydata()[0] == axes.get_ylim()[1] < 10, "a cross where the line left the plot"


def test_attention_is_said_in_words() -> None:
    last = np.full((4, 8), 0.05)
    last[:, 7] = 0.65
    one = AttentionMass("c", "texts", "head", last.tolist())
    sentences = attention.describe([one])
    assert sentences[0] == "Layer 8 of 8 gets most: 65.0% of all, 5.2 times its even part."
    assert sentences[1].startswith("The last 2 layers get 70.0%, where 25.0% is even")
    even = AttentionMass("c", "texts", "latent", np.full((300, 8), 0.125).tolist())
    assert attention.describe([even])[-1] == "That is close to a plain mean over layers."
    assert attention.gathered(np.array(even.mass)).shape == (attention.MOST_ROWS, 8)
    assert attention.focus(np.array([0.0, 0.0, 1.0])) == 3 and attention.spread(np.array([0.0, 0.0, 1.0])) == 1
    order = attention.ordered(np.array([[0, 1.0], [1.0, 0]]))
    assert order.tolist() == [[1.0, 0], [0, 1.0]]


def test_one_layer_and_plain_texts_are_said_as_people_say_them() -> None:
    """It said "the last 1 layer" and "7,916 text texts"."""
    sentences = attention.describe([AttentionMass("c", "t", "head", [[0.2, 0.3, 0.5]])])
    assert sentences[1].startswith("The last layer gets 50.0%, where 33.3% is even")
    study = StudyResults(StudyData(truncation=[Truncation("STS", "text", 7916, 4000), Truncation("R", "query", 10, 9)]), Path())
    words = " ".join(caution.text for caution in cautions(made_up({"good": 0.03}), [study], []))
    assert "of the 7,916 texts of STS" in words and "of the 10 query texts of R" in words


def test_runs_of_different_depth_are_not_averaged() -> None:
    with style():
        plot = attention.draw_profile(
            "s", [AttentionMass("a", "t", "head", [[0.5, 0.5]]), AttentionMass("b", "t", "head", [[0.2, 0.3, 0.5]])], "x"
        )
    assert [row[2] for row in plot.rows] == ["0.2000", "0.3000", "0.5000"]


def test_a_system_has_one_colour_in_all_plots() -> None:
    """Each plot counted its own systems: one without a curve gave the next one another colour."""
    found = made_up({"good": 0.03, "better": 0.05})
    points = [point(1), point(2)]
    cells = {
        "base": [CellData("base-1", "base", trainable_parameters=10)],  # a baseline has no curve
        "good": [CellData("good-1", "good", curve=points)],  # of which no cost is known
        "better": [CellData("better-1", "better", curve=points, trainable_parameters=30)],
    }
    mass = AttentionMass("better-1", "t", "head", [[0.5, 0.5]])
    data = StudyData(cells=[cell for of_system in cells.values() for cell in of_system], attention=[mass])
    plots = draw(found, [StudyResults(data, Path())]).plots
    third, second, first = (COLOURS[f"s{number}"] for number in (2, 1, 0))
    colours = {name: set(re.findall(r"#[0-9a-f]{6}", plots[name][0].svg)) for name in ("cost", "training", "attention")}
    assert {first, third} <= colours["cost"] and second not in colours["cost"]
    assert {second, third} <= colours["training"] and first not in colours["training"]
    assert third in colours["attention"] and not {first, second} & colours["attention"]
    assert Series(8).colour == first and (Series(8).dash, Series(8).marker) != (Series(0).dash, Series(0).marker)


def test_costs_of_systems_without_all_tasks_have_no_point() -> None:
    found = made_up({"good": 0.03})
    found.categories[0].means["good"] = None
    cells = {one: [CellData(f"{one}-1", one, trainable_parameters=size)] for one, size in (("base", 0), ("good", 10**9))}
    with style():
        plot = cost.draw_cost(found, cells, "cost")
        assert cost.draw_cost(found, {}, "cost") is None
    assert plot is not None and "so without a point: good" in plot.caption
    assert [row[3] for row in plot.rows] == ["0", "1 B"] and [row[2] for row in plot.rows][1] == "–"
    assert [cost.duration(seconds) for seconds in (3.2, 75, 7380)] == ["3.2 s", "1 min 15 s", "2 h 03 min"]
    assert [cost.quantity(value) for value in (310, 41_900_000, 1.278e9)] == ["310", "41.9 M", "1.28 B"]


@pytest.mark.parametrize(
    ("count", "total", "said"), [(4713, 11_000, "4,713 of 11,000 (42.8%) test pairs"), (3, None, "3 test pairs")]
)
def test_leakage_is_told(count: int, total: int | None, said: str) -> None:
    leak = LeakedTexts("stsb.jsonl", "STS12", count, total, "pairs", ["a / b"])
    found = cautions(made_up({"good": 0.03}), [StudyResults(StudyData(leakage=[leak]), ROOT)], [])
    assert said in found[0].text and found[0].serious and found[0].details == ["a / b"]


def test_classes_of_leakage_are_told_apart() -> None:
    leaks = [
        LeakedTexts("medquad", "MedQuAD", 327, 1976, "parts", ["What is"]),
        LeakedTexts("medquad", "MedQuAD", 1, None, "source"),
        LeakedTexts("mix", "Small", 1, 5500, "texts"),
    ]
    parts, source, few = cautions(made_up({"good": 0.03}), [StudyResults(StudyData(leakage=leaks), ROOT)], [])[:3]
    assert "327 of 1,976 (16.5%) test texts of MedQuAD share at least half of their 13-word sequences" in parts.text
    assert "medquad and MedQuAD are of one source" in source.text and "under 0.1%" in few.text


def test_what_was_looked_for_and_not_found_is_told() -> None:
    assert "none was found" in quiet([StudyResults(StudyData(leakage=[]), ROOT)])[0]
    assert "whether training texts stand in the tests" in quiet([StudyResults(StudyData(), ROOT)])[0]


def test_cells_and_cuts_are_told_serious_ones_first() -> None:
    data = StudyData(
        cells=[CellData("a-1", "a", device="CPU"), CellData("a-2", "a", status="diverged", reason="NaN", device="GPU")],
        truncation=[Truncation("T", "query", 1000, 5), Truncation("T", "document", 1000, 50, 128)],
        leakage=[],
    )
    found = cautions(made_up({"good": 0.03}), [StudyResults(data, ROOT)], ["x" * 400, "short"])
    kinds = [one.kind for one in found]
    assert kinds == ["diverged", "cut texts", "machines", "results", "results"]
    assert found[0].details == ["NaN"] and "5.0% of the 1,000 document texts of T were cut to 128 tokens" in found[1].text
    assert found[3].details == ["x" * 400] and len(found[3].text) < 300


def test_unfinished_cells_are_told_in_one_warning() -> None:
    cells = [CellData(f"a-{number}", "a", status="unfinished") for number in range(40)]
    cells.append(CellData("b-1", "b", status="unfinished", reason="killed"))
    killed, others = cautions(made_up({"good": 0.03}), [StudyResults(StudyData(cells=cells, leakage=[]), ROOT)], [])
    assert killed.text == "b-1 is not finished and left out." and killed.details == ["killed"]
    assert others.text == "40 cells are not finished and left out." and others.details[0].startswith("a-0, a-1, a-2")
    (alone,) = cautions(made_up({"good": 0.03}), [StudyResults(StudyData(cells=cells[:1], leakage=[]), ROOT)], [])
    assert alone.text == "a-0 is not finished and left out." and not alone.details


def test_what_lists_much_is_a_list() -> None:
    assert itemised("Seen: a; b; c; d") == ("Seen: a; b; c; d", [])
    assert itemised("Few: 3. Seen: a; b; c; d; e.") == ("Few: 3. Seen:", ["a", "b", "c", "d", "e."])
    assert itemised("No list at all.") == ("No list at all.", [])


def test_settings_are_flat() -> None:
    rows = flat({"a": {"b": [1, 2], "c": {}}, "d": [{"e": None}], "f": []})
    assert rows == [["a.b", "1, 2"], ["a.c", "–"], ["d[1].e", "–"], ["f", ""]]


def test_the_empty_page_escapes_names() -> None:
    page = make_empty_page("A <b>study</b>", "Nothing to compare.", [("<script>", "failed", "out of memory\x00")])
    assert "<h1>A &lt;b&gt;study&lt;/b&gt;</h1>" in page and "<p>Nothing to compare.</p>" in page
    assert "<td>&lt;script&gt;</td><td>failed</td><td>out of memory\ufffd</td>" in page


def test_a_column_is_in_its_outputs_only() -> None:
    found = made_up({"good": 0.03})
    columns = [Column("p", lambda pair: pair.mark_p, CSV | PAGE, chance), Column("n", lambda pair: 1, CSV)]
    pairs = pairs_of(found.categories[0], found)
    assert heads(columns, PAGE) == ["p"] and heads(columns, CLAIMS) == []
    assert texts(columns, pairs, PAGE) == [[chance(pairs[0].mark_p)]]
    assert records(columns, pairs) == [{"p": pairs[0].mark_p, "n": 1}]
    names = heads(COLUMNS, CSV)
    assert len(names) == len(set(names)), "a CSV file has each column once"
