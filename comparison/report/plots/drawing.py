"""One drawing, three uses: SVG and PNG files for a paper, and inline SVG whose colours follow the reader's light or dark mode.

Drawings use the colours of `COLOURS` only. Inline, each is replaced by the CSS variable of its name, which the page's
style sheet sets for both modes; so every value here is different from every other.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS = {
    "ink": "#1b1e23",
    "muted": "#5a626d",
    "line": "#d5d9df",
    "band": "#edf0f4",
    "paper": "#ffffff",
    # Okabe and Ito's colours, darkened where they are too light for lines on white
    "s0": "#0072b2",
    "s1": "#c1500a",
    "s2": "#00805e",
    "s3": "#a84a80",
    "s4": "#2f8fd0",
    "s5": "#a67b00",
    "s6": "#555b66",
    "s7": "#8a3ffc",
    # nine steps from worse (orange) to better (blue), and the text upon each
    "h0": "#b3480f",
    "h1": "#d9824a",
    "h2": "#efb98f",
    "h3": "#f8e0cd",
    "h4": "#f2f3f5",
    "h5": "#d3e3f3",
    "h6": "#98c1e4",
    "h7": "#4a92cb",
    "h8": "#0a5f9e",
    "t0": "#fffffe",
    "t1": "#15181c",
    "t2": "#15181d",
    "t3": "#15181e",
    "t4": "#15181f",
    "t5": "#151820",
    "t6": "#151821",
    "t7": "#151822",
    "t8": "#fffffd",
}
VARIABLES = {value: variable for variable, value in COLOURS.items()}
SERIES = [COLOURS[f"s{number}"] for number in range(8)]
MOST_SHOWN = 1e30  # matplotlib cannot divide an axis up to the largest floats
DASHES: list[str | tuple[float, Sequence[float]]] = ["-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1))]
MARKERS = "osD^vPX*"
FONTS = ["DejaVu Sans", "Noto Sans", "Arial", "sans-serif"]
RC: Any = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's own font
    "svg.hashsalt": "comparison",  # ids do not change from run to run
    "text.parse_math": False,  # a name may hold dollar signs
    "text.usetex": False,
    "axes.unicode_minus": True,
    "font.family": "sans-serif",
    "font.sans-serif": FONTS,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "lines.solid_capstyle": "butt",  # an interval ends where its numbers say
    "path.simplify": True,
    **dict.fromkeys(("text.color", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor"), COLOURS["ink"]),
    **dict.fromkeys(("axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), COLOURS["muted"]),
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "figure.facecolor": COLOURS["paper"],
    "axes.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
PNG_DPI = 200


@dataclass(frozen=True)
class Series:
    """The look of a system, the same in all plots.

    Attributes:
        number: its place in the comparison, whatever else a plot shows.
    """

    number: int

    @property
    def colour(self) -> str:
        """The colour of its lines and points; the ninth system has the first one's."""
        return SERIES[self.number % len(SERIES)]

    @property
    def marker(self) -> str:
        """The shape of its points; of two systems of one colour another one."""
        return MARKERS[(self.number + self.number // len(SERIES)) % len(MARKERS)]

    @property
    def dash(self) -> str | tuple[float, Sequence[float]]:
        """The dashes that tell systems of one colour apart."""
        return DASHES[self.number // len(SERIES) % len(DASHES)]


def series_of(systems: Iterable[str]) -> dict[str, Series]:
    """Return the look of each system of a comparison.

    >>> series_of(["model1", "model2"])["model2"].colour == SERIES[1]
    True
    """
    return {system: Series(number) for number, system in enumerate(systems)}


@dataclass(frozen=True)
class Plot:
    """A finished plot.

    Attributes:
        name: stem of its files.
        title: what it shows, a heading's length.
        alt: the content in words, for a reader who does not see it.
        caption: how to read it.
        svg: as a file.
        png: as a file.
        head: columns of its data.
        rows: its data, as texts.
    """

    name: str
    title: str
    alt: str
    caption: str
    svg: str
    png: bytes
    head: Sequence[str] = field(default_factory=list)
    rows: Sequence[Sequence[str]] = field(default_factory=list)


@contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style."""
    with mpl.rc_context(RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*[Gg]lyph.*")  # an emoji in a name; browsers have it
        yield


def render(figure: Figure) -> tuple[str, bytes]:
    """Return a figure as SVG and PNG."""
    vector, raster = io.StringIO(), io.BytesIO()
    figure.draw_without_rendering()
    box = figure.get_tightbbox().padded(0.06)  # measured once: a figure that fits its labels
    figure.savefig(vector, format="svg", bbox_inches=box, metadata={"Date": None, "Creator": None})
    figure.savefig(raster, format="png", bbox_inches=box, dpi=PNG_DPI, metadata={"Software": None})
    return vector.getvalue(), raster.getvalue()


def inline(svg: str, prefix: str) -> tuple[str, float]:
    """Return the SVG element to stand in a page, and its width in points.

    Args:
        svg: a file's content.
        prefix: of ids, which a page may hold once only.
    """
    inside = svg[svg.index("<svg") :]
    inside = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*|<!--.*?-->\s*", "", inside, flags=re.DOTALL)
    box = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', inside)
    assert box is not None
    inside = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], prefix), inside[inside.index(">") + 1 :])  # never the texts between
    inside = re.sub(r"\n\s*", "\n", inside)
    width, height = float(box[1]), float(box[2])
    return f'viewBox="0 0 {width:g} {height:g}">{inside}', width


def _tag(tag: str, prefix: str) -> str:
    tag = re.sub(r'\bid="', f'id="{prefix}-', tag)
    tag = re.sub(r"url\(#", f"url(#{prefix}-", tag)
    tag = re.sub(r'xlink:href="#', f'href="#{prefix}-', tag).replace("xlink:href", "href")
    tag = re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font: \1 var(--font)", tag)
    tag = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", tag)
    return re.sub(r"#[0-9a-f]{6}\b", _variable, tag)


def _variable(match: re.Match[str]) -> str:
    """Return a colour of ours as its CSS variable; another one as it is."""
    if match[0] in VARIABLES:
        return f"var(--{VARIABLES[match[0]]})"
    return match[0]
