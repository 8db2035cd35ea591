"""Docstring sections, name masking, deduplication, the split."""

from __future__ import annotations

import pytest

from quickstart.docstrings.cleaning import Docstring, clean, mask_name
from quickstart.docstrings.deduplicate import deduplicate
from quickstart.docstrings.links import resolve_links
from quickstart.docstrings.sources import RawDocstring
from quickstart.docstrings.split import LeakageError, SplitLeakage, held_out_first, measure_leakage, require_apart, split_of
from quickstart.docstrings.tasks import classification_task
from quickstart.docstrings.triplets import document_text, query_text

TEXT = """Compute a window of the given length. It is tapered.

The window is symmetric, see :func:`~pkg.fft` and ``numpy``.

Parameters
----------
length : int
    Number of points.

See Also
--------
hann, pkg.kaiser : Other windows.
blackman
    A window with a description below.

Notes
-----
Useful in spectral analysis.

Examples
--------
>>> get_window(3)
"""


def doc(text: str, name: str = "f", module: str = "pkg/m.py") -> Docstring:
    cleaned = clean(RawDocstring("pkg", module, name, text))
    assert cleaned is not None
    return cleaned


def test_a_docstring_is_summary_body_and_links() -> None:
    cleaned = doc(TEXT, "get_window")
    assert cleaned.summary == "Compute a window of the given length."
    assert cleaned.see_also == ("hann", "pkg.kaiser", "blackman")
    assert cleaned.body.startswith("It is tapered. The window is symmetric, see pkg.fft and numpy .")
    assert "Number of points" in cleaned.body and "spectral analysis" in cleaned.body
    assert "kaiser" not in cleaned.body and "get_window(3)" not in cleaned.body


@pytest.mark.parametrize(
    ("text", "name", "masked"),
    [
        ("read_table reads tables; read table.", "read_table", "_ reads tables; _."),
        ("A KMeans model, KMEANS again, KMeanses too.", "KMeans.fit", "A _ model, _ again, _ too."),
        ("Fits and fit, but not outfit or fitting.", "Model.fit", "_ and _, but not outfit or fitting."),
        ("The private _helper and helper.", "_helper", "The private _ and _."),
        ("SomeReader is some reader.", "SomeReader.__init__", "_ is _."),
        ("Nothing to hide.", "x", "Nothing to hide."),
    ],
)
def test_the_documented_name_is_masked(text: str, name: str, masked: str) -> None:
    assert mask_name(text, name) == masked


def test_query_and_document_are_masked() -> None:
    found = doc("Run the spline_fit on data points.\n\nThe spline_fit is smooth.", "spline_fit")
    assert query_text(found) == "Run the _ on data points." and document_text(found) == "The _ is smooth."


def test_copies_near_copies_and_boilerplate_go() -> None:
    body = " ".join(f"word{chr(97 + number)}" for number in range(20))
    other = " ".join(f"term{chr(97 + number)}" for number in range(20))
    texts = [
        f"Summary of the first one.\n\n{body}",
        f"Summary of the first one.\n\n{body}",
        f"Summary of the first one indeed.\n\n{' '.join(body.split()[1:])} more",
        f"Something else is said in this long enough sentence.\n\n{body}",
        f"Another thing altogether.\n\n{other}",
        "Too short this.",
    ]
    kept, counts = deduplicate([doc(text, module=f"pkg/m{number}.py") for number, text in enumerate(texts)])
    assert [item.module for item in kept] == ["pkg/m0.py", "pkg/m3.py", "pkg/m4.py"]
    assert kept[1].paragraphs == ()  # the repeated paragraph
    assert (counts.read, counts.kept, counts.near_copies) == (6, 3, 1)


def test_a_held_out_text_wins_over_its_copy_in_train() -> None:
    modules = [f"pkg/m{number}.py" for number in range(60)]
    train = next(module for module in modules if split_of(module) == "train")
    test = next(module for module in modules if split_of(module) == "test")
    text = "One sentence of more than eight words that is the same."
    kept, _ = deduplicate(held_out_first([doc(text, module=train), doc(text, module=test)]))
    assert [item.module for item in kept] == [test]


def test_the_split_is_by_module_and_near_its_shares() -> None:
    splits = [split_of(f"pkg/sub/m{number}.py") for number in range(5000)]
    assert abs(splits.count("test") / 5000 - 0.12) < 0.02 and abs(splits.count("dev") / 5000 - 0.06) < 0.02
    assert split_of("scipy/stats/_stats_py.py") == split_of("scipy/stats/_stats_py.py")


def test_leakage_is_measured_and_refused() -> None:
    text = "The very same long sentence stands in both of the splits here."
    same = measure_leakage([doc(text)], [doc(text)])
    assert same.ngram_overlap == 1.0 and same.verbatim_summaries == 1.0
    with pytest.raises(LeakageError, match="--packages"):
        require_apart(same)
    require_apart(SplitLeakage(0.01, 0.01, 100))


def test_links_resolve_in_class_then_module_then_package() -> None:
    link = "Say something of interest.\n\nSee Also\n--------\n"
    docs = [
        doc(link + "other", "A.one"),
        doc("Say a different thing.", "A.other"),
        doc("Say yet another thing.", "B.other"),
        doc(link + "far", "two", "pkg/n.py"),
        doc("Say a thing far away.", "far", "pkg/o.py"),
        doc(link + "other", "three", "pkg/p.py"),  # two candidates, neither nearer
    ]
    assert resolve_links(docs) == {0: {1}, 1: {0}, 3: {4}, 4: {3}}


def test_classification_halves_share_no_module() -> None:
    docs = [
        doc(
            f"Module{module} item{number} does a thing.\n\n" + " ".join([f"mark{module}"] * 20),
            f"f{number}",
            f"pkg/sub{module % 2}/m{module}.py",
        )
        for module in range(8)
        for number in range(8)
    ]
    task = classification_task(docs, per_label=16, seed=0)
    marks = [{str(row["text"]).split()[-1] for row in task.files[name]} for name in ("train", "test")]
    assert marks[0] and marks[1] and not marks[0] & marks[1]
    assert {row["label"] for row in task.files["train"]} == {row["label"] for row in task.files["test"]}
