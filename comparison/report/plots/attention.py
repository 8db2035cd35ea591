"""What a multi-layer pooling looks at: attention mass by layer, and by layer and head or latent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from comparison.reading.study_data import AttentionMass
from comparison.report.plots.drawing import COLOURS, DASHES, SERIES, Plot, render
from comparison.report.words.names import called, name, short_names

MOST_ROWS = 96  # of one image: more heads or latents are averaged with their neighbours
MOST_IMAGES = 4  # of one plot: runs of a system


def by_layer(one: AttentionMass) -> np.ndarray:
    """Return the mean mass of each layer, ``(layers,)``."""
    return np.asarray(np.mean(np.asarray(one.mass, dtype=float), axis=0))


def draw_profile(system: str, of_system: Sequence[AttentionMass], stem: str) -> Plot:
    """Draw a system's mass by layer, a line for each set of texts: the mean over runs, and from lowest to highest run.

    Args:
        system: its name.
        of_system: at least one, of any runs, texts and kinds of rows; runs may differ in layers.
        stem: of the files.
    """
    layers = max(len(one.mass[0]) for one in of_system)
    lines = _lines(of_system, layers)
    labels = short_names(list(lines), 30)
    figure = Figure(figsize=(4.3, 2.2))
    axes = figure.add_subplot()
    at = np.arange(1, layers + 1)
    for number, (texts, masses) in enumerate(lines.items()):
        colour, dash = SERIES[number % 8], DASHES[number // 8 % 4]
        axes.plot(at, masses.mean(axis=0), lw=1.8, marker="o", ms=3, label=labels[texts], color=colour, ls=dash)
        if len(masses) > 1:
            axes.fill_between(at, masses.min(axis=0), masses.max(axis=0), color=colour, alpha=0.15, lw=0)
    axes.axhline(1 / layers, color=COLOURS["ink"], ls=(0, (1, 2)), lw=1, label="all layers alike")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0.5, layers + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_xlabel("layer (1 is the first after the embeddings)")
    axes.set_ylabel("share of attention")
    axes.grid()
    axes.legend(loc="upper left", bbox_to_anchor=(-0.1, -0.22), ncols=2)
    svg, png = render(figure)
    runs = len({one.cell for one in of_system})
    rows = [
        [name(texts), f"layer {layer}", f"{masses.mean(axis=0)[layer - 1]:.4f}", f"{masses.min(axis=0)[layer - 1]:.4f}",
         f"{masses.max(axis=0)[layer - 1]:.4f}"]
        for texts, masses in lines.items()
        for layer in range(1, layers + 1)
    ]  # fmt: skip
    title = f"Attention by layer: {called(system)}"
    alt = f"Share of attention by layer of {name(system)}, one line a set of texts. {' '.join(say(of_system))}"
    caption = (
        f"Mean over heads or latents, over texts and over {runs} {'runs; bands: lowest to highest run' if runs > 1 else 'run'}."
    )
    return Plot(stem, title, alt, caption, svg, png, ["texts", "layer", "mean", "lowest run", "highest run"], rows)


def _lines(of_system: Sequence[AttentionMass], layers: int) -> dict[str, np.ndarray]:
    """Return the masses of each set of texts, ``(runs, layers)``; by head where a run has both kinds of rows."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for one in sorted(of_system, key=lambda one: one.by, reverse=True):  # latents first, so that heads replace them
        if len(one.mass[0]) == layers:
            found.setdefault(one.texts, {})[one.cell] = by_layer(one)
    order = dict.fromkeys(one.texts for one in of_system)
    return {texts: np.stack(list(found[texts].values())) for texts in order if texts in found}


def draw_rows(system: str, by: str, of_system: Sequence[AttentionMass], stem: str) -> Plot:
    """Draw each run's heads or latents by layer, the mean over sets of texts; rows ordered by the layer they look at.

    Args:
        system: its name.
        by: ``head`` or ``latent``.
        of_system: of that kind.
        stem: of the files.
    """
    runs: dict[str, list[np.ndarray]] = {}
    for one in of_system:
        mass = np.asarray(one.mass, dtype=float)
        if one.cell not in runs or runs[one.cell][0].shape == mass.shape:
            runs.setdefault(one.cell, []).append(mass)
    means = {cell: ordered(np.mean(masses, axis=0)) for cell, masses in list(runs.items())[:MOST_IMAGES]}
    width = max(3.0, min(4.6, 1.3 * len(means) + 0.9))
    letters = int((72 * width - 100) / len(means) / 5)  # of a title's line, so that neighbours do not touch
    labels = short_names(list(means), 3 * letters)
    figure = Figure(figsize=(width, 2.5), layout="constrained")
    grid = figure.subplots(1, len(means), squeeze=False, sharey=True)[0]
    top = max(float(mass.max()) for mass in means.values())
    for axes, (cell, mass) in zip(grid, means.items(), strict=True):
        shown = gathered(mass)
        image = axes.imshow(shown, aspect="auto", interpolation="none", cmap="cividis", vmin=0, vmax=top,
                            extent=(0.5, mass.shape[1] + 0.5, len(mass), 0))  # fmt: skip
        axes.set_title(fill(labels[cell], letters, break_on_hyphens=False), fontsize=7.5)
        axes.set_xlabel("layer")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.spines[:].set_visible(False)
    grid[0].set_ylabel(f"{by}s, ordered by layer")
    figure.colorbar(image, ax=list(grid), label="share of attention", shrink=0.9)
    svg, png = render(figure)
    rows = [
        [name(cell), f"{place + 1}", f"{focus(row):.1f}", f"{int(row.argmax()) + 1}", f"{row.max():.3f}", f"{spread(row):.1f}"]
        for cell, mass in means.items()
        for place, row in enumerate(mass[:MOST_ROWS])
    ]
    more = "" if len(runs) <= MOST_IMAGES else f" {len(runs) - MOST_IMAGES} more runs are not drawn."
    caption = (
        f"Mean over {'latents' if by == 'head' else 'heads'} and over all sets of texts. A {by} that looks at one layer is one "
        f"bright cell; one that looks at all is even. {by.capitalize()}s of different runs do not correspond.{more}"
    )
    alt = f"Images of the share of attention of each {by} of {name(system)} by layer, for {len(means)} runs."
    head = ["run", f"{by} (ordered)", "mean layer", "strongest layer", "its share", "layers used"]
    return Plot(stem, f"Attention by {by}: {called(system)}", alt, caption, svg, png, head, rows)


def ordered(mass: np.ndarray) -> np.ndarray:
    """Return rows ordered by the layer that they look at on average."""
    return np.asarray(mass[np.argsort([focus(row) for row in mass], kind="stable")])


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


def say(of_system: Sequence[AttentionMass]) -> list[str]:
    """Return what stands out, in words, over all runs and texts."""
    layers = max(len(one.mass[0]) for one in of_system)
    profiles = [by_layer(one) for one in of_system if len(one.mass[0]) == layers]
    mean = np.mean(profiles, axis=0)
    best, last = int(mean.argmax()), max(1, layers // 4)
    said = [
        f"Layer {best + 1} of {layers} gets most: {mean[best]:.1%} of all, {mean[best] * layers:.1f} times its even part.",
        f"The last {last} {'layers get' if last > 1 else 'layer gets'} {mean[-last:].sum():.1%}, where {last / layers:.1%} is "
        f"even; it is spread over {spread(mean):.1f} of {layers} layers.",
    ]
    if spread(mean) > 0.95 * layers:
        said.append("That is close to a plain mean over layers.")
    return said


def by_system(attention: Mapping[str, Sequence[AttentionMass]]) -> dict[str, dict[str, list[AttentionMass]]]:
    """Return each system's entries by kind of rows."""
    return {
        system: {
            by: [one for one in of_system if one.by == by] for by in ("head", "latent") if any(o.by == by for o in of_system)
        }
        for system, of_system in attention.items()
    }
