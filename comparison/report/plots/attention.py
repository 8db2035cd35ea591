"""The attention of a multi-layer pooling: its mass by layer, and by layer and head or latent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from comparison.reading.study_data import AttentionMass
from comparison.report.plots.drawing import COLOURS, DASHES, MARKERS, SERIES, Plot, render
from comparison.report.words.names import called, name, short_names
from comparison.report.words.wording import when

MOST_ROWS = 96  # of one image: more heads or latents are averaged with their neighbours
MOST_IMAGES = 4  # of one plot: runs of a system
OTHERS = {"head": "latents", "latent": "heads"}  # the dimension that is averaged


def by_layer(mass: AttentionMass) -> np.ndarray:
    """Return the mean mass of each layer, ``(layers,)``."""
    return np.asarray(np.mean(np.asarray(mass.mass, dtype=float), axis=0))


def layers_of(masses: Sequence[AttentionMass]) -> int:
    """Return the layers of the deepest run."""
    return max(len(mass.mass[0]) for mass in masses)


def draw_profile(system: str, masses: Sequence[AttentionMass], stem: str, colour: str | None = None) -> Plot:
    """Draw a system's mass by layer, a line for each set of texts: the mean over runs, and from lowest to highest run.

    Args:
        system: its name.
        masses: at least one, of any runs, texts and kinds of rows; runs may differ in layers.
        stem: of the files.
        colour: of the system in all plots; None for the first.
    """
    layers = layers_of(masses)
    lines = _lines(masses, layers)
    figure = Figure(figsize=(4.3, 2.2))
    axes = figure.add_subplot()
    _draw_lines(axes, lines, layers, colour or SERIES[0])
    svg, png = render(figure)
    rows = []
    for texts, values in lines.items():
        mean, low, high = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
        for layer in range(layers):
            numbers = (mean[layer], low[layer], high[layer])
            rows.append([name(texts), f"layer {layer + 1}", *map("{:.4f}".format, numbers)])
    runs = len({mass.cell for mass in masses})
    over = "1 run"
    if runs > 1:
        over = f"{runs} runs; bands: lowest to highest run"
    title = f"Attention by layer: {called(system)}"
    alt = f"Share of attention by layer of {name(system)}, one line a set of texts. {' '.join(describe(masses))}"
    caption = f"Mean over heads or latents, over texts and over {over}."
    return Plot(stem, title, alt, caption, svg, png, ["texts", "layer", "mean", "lowest run", "highest run"], rows)


def _draw_lines(axes: Axes, lines: Mapping[str, np.ndarray], layers: int, colour: str) -> None:
    """Draw a line for each set of texts: all have the system's colour, and differ by dashes and marker."""
    labels = short_names(list(lines), 30)
    steps = np.arange(1, layers + 1)
    for number, (texts, values) in enumerate(lines.items()):
        marker, dash = MARKERS[number % len(MARKERS)], DASHES[number % len(DASHES)]
        axes.plot(steps, values.mean(axis=0), lw=1.6, marker=marker, ms=4, label=labels[texts], color=colour, ls=dash)
        if len(values) > 1:
            axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, lw=0)
    axes.axhline(1 / layers, color=COLOURS["ink"], ls=(0, (1, 2)), lw=1, label="all layers alike")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0.5, layers + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_xlabel("layer (1 is the first after the embeddings)")
    axes.set_ylabel("share of attention")
    axes.grid()
    axes.legend(loc="upper left", bbox_to_anchor=(-0.1, -0.22), ncols=2)


def _lines(masses: Sequence[AttentionMass], layers: int) -> dict[str, np.ndarray]:
    """Return the masses of each set of texts, ``(runs, layers)``; by head where a run has both kinds of rows."""
    runs: dict[str, dict[str, np.ndarray]] = {mass.texts: {} for mass in masses}
    for mass in sorted(masses, key=lambda mass: mass.by, reverse=True):  # latents first, so that heads replace them
        if len(mass.mass[0]) == layers:
            runs[mass.texts][mass.cell] = by_layer(mass)
    return {texts: np.stack(list(of_texts.values())) for texts, of_texts in runs.items() if of_texts}


def draw_rows(system: str, by: str, masses: Sequence[AttentionMass], stem: str) -> Plot:
    """Draw each run's heads or latents by layer, the mean over sets of texts; rows ordered by the layer they look at.

    Args:
        system: its name.
        by: ``head`` or ``latent``.
        masses: of that kind.
        stem: of the files.
    """
    runs = _runs(masses)
    means: dict[str, np.ndarray] = {}
    for cell, of_cell in islice(runs.items(), MOST_IMAGES):
        means[cell] = ordered(np.mean(of_cell, axis=0))
    figure = _draw_images(means, by)
    svg, png = render(figure)
    rows = []
    for cell, mass in means.items():
        for number, row in enumerate(mass[:MOST_ROWS], 1):
            strongest = int(row.argmax()) + 1
            numbers = [f"{number}", f"{focus(row):.1f}", f"{strongest}", f"{row.max():.3f}", f"{spread(row):.1f}"]
            rows.append([name(cell), *numbers])
    more = when(len(runs) > MOST_IMAGES, f" {len(runs) - MOST_IMAGES} more runs are not drawn.")
    caption = (
        f"Mean over {OTHERS[by]} and over all sets of texts. A {by} that looks at one layer is one "
        f"bright cell; one that looks at all is even. {by.capitalize()}s of different runs do not correspond.{more}"
    )
    alt = f"Images of the share of attention of each {by} of {name(system)} by layer, for {len(means)} runs."
    head = ["run", f"{by} (ordered)", "mean layer", "strongest layer", "its share", "layers used"]
    return Plot(stem, f"Attention by {by}: {called(system)}", alt, caption, svg, png, head, rows)


def _runs(masses: Sequence[AttentionMass]) -> dict[str, list[np.ndarray]]:
    """Return each run's masses ``(rows, layers)``, one a set of texts; those of another shape than the first are left out."""
    runs: dict[str, list[np.ndarray]] = {}
    for entry in masses:
        mass = np.asarray(entry.mass, dtype=float)
        if entry.cell not in runs:
            runs[entry.cell] = [mass]
        elif runs[entry.cell][0].shape == mass.shape:
            runs[entry.cell].append(mass)
    return runs


def _draw_images(means: Mapping[str, np.ndarray], by: str) -> Figure:
    """Draw one image a run, beside each other, with one scale of colours."""
    width = max(3.0, min(4.6, 1.3 * len(means) + 0.9))
    letters = int((72 * width - 100) / len(means) / 5)  # of a title's line, so that neighbours do not touch
    labels = short_names(list(means), 3 * letters)
    figure = Figure(figsize=(width, 2.5), layout="constrained")
    grid = figure.subplots(1, len(means), squeeze=False, sharey=True)[0]
    top = max(float(mass.max()) for mass in means.values())
    for axes, (cell, mass) in zip(grid, means.items(), strict=True):
        image = _draw_image(axes, mass, top)
        axes.set_title(fill(labels[cell], letters, break_on_hyphens=False), fontsize=7.5)
    grid[0].set_ylabel(f"{by}s, ordered by layer")
    figure.colorbar(image, ax=list(grid), label="share of attention", shrink=0.9)
    return figure


def _draw_image(axes: Axes, mass: np.ndarray, top: float) -> AxesImage:
    corners = (0.5, mass.shape[1] + 0.5, len(mass), 0)
    rows = gathered(mass)
    image = axes.imshow(rows, aspect="auto", interpolation="none", cmap="cividis", vmin=0, vmax=top, extent=corners)
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.spines[:].set_visible(False)
    return image


def ordered(mass: np.ndarray) -> np.ndarray:
    """Return rows ordered by the layer that they look at on average."""
    return np.asarray(mass[np.argsort(list(map(focus, mass)), kind="stable")])


def gathered(mass: np.ndarray) -> np.ndarray:
    """Return at most `MOST_ROWS` rows, neighbours averaged."""
    if len(mass) <= MOST_ROWS:
        return mass
    return np.array([part.mean(axis=0) for part in np.array_split(mass, MOST_ROWS)])


def focus(row: np.ndarray) -> float:
    """Return the mean layer, counted from 1, of a row of masses."""
    return float(np.arange(1, len(row) + 1) @ row / row.sum())


def spread(row: np.ndarray) -> float:
    """Return over how many layers a row is spread: the exponential of its entropy; 1 for one layer, L for all alike."""
    share = row[row > 0] / row.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def describe(masses: Sequence[AttentionMass]) -> list[str]:
    """Describe in words what stands out over all runs and texts."""
    layers = layers_of(masses)
    mean = np.mean([by_layer(mass) for mass in masses if len(mass.mass[0]) == layers], axis=0)
    best, last = int(mean.argmax()), max(1, layers // 4)
    share, even = mean[-last:].sum(), last / layers
    those = "layer gets"
    if last > 1:
        those = f"{last} layers get"
    sentences = [
        f"Layer {best + 1} of {layers} gets most: {mean[best]:.1%} of all, {mean[best] * layers:.1f} times its even part.",
        f"The last {those} {share:.1%}, where {even:.1%} is even; it is spread over {spread(mean):.1f} of {layers} layers.",
    ]
    if spread(mean) > 0.95 * layers:
        sentences.append("That is close to a plain mean over layers.")
    return sentences
