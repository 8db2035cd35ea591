"""Draw the data flow of each design and system: ``python docs/draw_designs.py`` writes ``docs/designs/*.svg``.

``--check`` writes nothing and ends with status 1 where a file is not what would be written. The drawings of designs read the
table of designs, so that a drawing cannot say another attention or pooling than the code has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model_loaders.designs import get_design

FOLDER = Path(__file__).resolve().parent / "designs"
CELL, TOKEN_Y, LEFT = 50, 196, 172
LAYER_Y = {"L": 62, "2": 106, "1": 150}
BOX_WIDTH, BOX_GAP, HEIGHT = 150, 24, 240
FILLS = {"special": "#d9d9d9", "prompt": "#e8dcc4", "text": "#cfe2f3", "copy": "#d9ead3"}
READ, UNREAD, LINE, INK = "#cc4125", "#ffffff", "#888888", "#222222"


@dataclass(frozen=True)
class Token:
    """A token of the example text.

    Attributes:
        label: its text.
        kind: ``special``, ``prompt``, ``text`` or ``copy``.
        read: whether the pooling reads its state.
    """

    label: str
    kind: str = "text"
    read: bool = True


@dataclass(frozen=True)
class Drawing:
    """The data flow of a design or system.

    Attributes:
        name: of the file.
        title: above the drawing.
        design: row of the table of designs; its attention and layers are drawn.
        tokens: from left to right.
        boxes: what happens to the states that are read: one list of lines a box.
        weights: numbers above the tokens' states, for weighted means.
    """

    name: str
    title: str
    design: str
    tokens: Sequence[Token]
    boxes: Sequence[Sequence[str]]
    weights: Sequence[str] = field(default=())


BOS, EOS = Token("<s>", "special", read=False), Token("</s>", "special")
WORDS = [Token("a"), Token("short"), Token("text")]
UNREAD_WORDS = [Token(word.label, read=False) for word in WORDS]
INSTRUCTION = [Token("Find", "prompt", read=False), Token("it:", "prompt", read=False)]
LAST = [BOS, *UNREAD_WORDS, EOS]
ALL = [Token("<s>", "special"), *WORDS, EOS]
HEAD = ["latents are queries,", "states are keys", "cross-attention", "feed-forward", "mean over latents"]
LATENTS = ["tokens are queries,", "latents are keys", "attention + residual", "feed-forward", "mean over tokens"]

DRAWINGS = (
    Drawing("model1", "model1: EOS", "model1", LAST, [["the state of </s>"]]),
    Drawing("model2", "model2: EOS, Last-Layer Trainable Pooling", "model2", LAST, [HEAD]),
    Drawing("model3", "model3: EOS of every layer, Multi-Layers Trainable Pooling", "model3", LAST,
            [["+ layer embedding"], HEAD]),
    Drawing("model4", "model4: all tokens, Last-Layer Trainable Pooling", "model4", ALL, [HEAD]),
    Drawing("model5", "model5: mean of every layer, Multi-Layers Trainable Pooling", "model5", ALL,
            [["mean over tokens,", "a layer at a time", "+ layer embedding"], HEAD]),
    Drawing("mean", "causal_mean; bidirectional_mean has the full square", "causal_mean", ALL, [["mean over tokens"]]),
    Drawing("weighted_mean", "causal_weighted_mean; bidirectional_weighted_mean has the full square", "causal_weighted_mean",
            ALL, [["mean with weights", "1, 2, …, n"]], ["1", "2", "3", "4", "5"]),
    Drawing("normalised_mean", "causal_normalised_mean; bidirectional_normalised_mean has the full square",
            "causal_normalised_mean", ALL, [["each state divided by", "its root mean square"], ["mean over tokens"]]),
    Drawing("model5_normalised", "model5_normalised: normalised mean of every layer, Multi-Layers Trainable Pooling",
            "model5_normalised", ALL,
            [["states divided by", "their root mean square", "mean over tokens,", "a layer at a time", "+ layer embedding"],
             HEAD]),
    Drawing("max", "bidirectional_max; causal_max has the triangle", "bidirectional_max", ALL,
            [["largest number", "in each dimension"]]),
    Drawing("first", "bidirectional_first; causal_first has the triangle", "bidirectional_first",
            [Token("<s>", "special"), *UNREAD_WORDS, Token("</s>", "special", read=False)], [["the state of <s>"]]),
    Drawing("last_layer", "causal_last_layer: all tokens, Last-Layer Trainable Pooling", "causal_last_layer", ALL, [HEAD]),
    Drawing("latent_attention", "bidirectional_latent_attention; causal_latent_attention has the triangle",
            "bidirectional_latent_attention", ALL, [LATENTS]),
    Drawing("self_attention", "bidirectional_self_attention; causal_self_attention has the triangle",
            "bidirectional_self_attention", ALL,
            [["tokens are queries,", "tokens are keys", "attention + residual", "feed-forward", "mean over tokens"]]),
    Drawing("nv_embed", "NV-Embed", "bidirectional_latent_attention", [BOS, *INSTRUCTION, *WORDS, EOS], [LATENTS]),
    Drawing("llm2vec", "LLM2Vec", "bidirectional_mean", [BOS, *INSTRUCTION, *WORDS], [["mean over the", "text's tokens"]]),
    Drawing("kalm", "KaLM-Embedding v2; v1 has the triangle", "bidirectional_mean",
            [Token("Find", "prompt"), Token("it:", "prompt"), *WORDS], [["mean over all tokens"], ["first d numbers"]]),
    Drawing("gritlm", "GritLM", "bidirectional_mean",
            [BOS, *INSTRUCTION, Token("embed", "prompt", read=False), *WORDS], [["mean over the", "text's tokens"]]),
    Drawing("e5_mistral", "E5-Mistral, SFR-Embedding", "model1", [BOS, *INSTRUCTION, *UNREAD_WORDS, EOS],
            [["the state of </s>"]]),
    Drawing("qwen3_embedding", "Qwen3-Embedding", "model1", [*INSTRUCTION, *UNREAD_WORDS, Token("<end>", "special")],
            [["the state of", "<|endoftext|>"], ["first d numbers"]]),
    Drawing("echo", "Echo", "causal_mean",
            [BOS, *UNREAD_WORDS, Token("again:", "prompt", read=False), *(Token(word.label, "copy") for word in WORDS)],
            [["mean over the", "second copy"]]),
    Drawing("prompteol", "PromptEOL", "model1",
            [BOS, Token("This…", "prompt", read=False), *UNREAD_WORDS, Token("in one", "prompt", read=False),
             Token("word:", "prompt", read=False), Token('"', "prompt")], [["the state of the", "last token"]]),
)  # fmt: skip


def svg_of(drawing: Drawing) -> str:
    """Return a drawing as the text of an SVG file."""
    boxes_left = LEFT + CELL * len(drawing.tokens) + BOX_GAP
    width = boxes_left + len(drawing.boxes) * (BOX_WIDTH + BOX_GAP) + 92
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{HEIGHT}" fill="#ffffff"/>',
        text(16, 24, drawing.title, size=15, anchor="start"),
        *attention_icon(drawing),
        *states(drawing),
        *boxes(drawing, boxes_left),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def text(x: float, y: float, content: str, *, size: int = 12, anchor: str = "middle") -> str:
    """Return a line of text."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{INK}">{escape(content)}</text>'


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return a horizontal line with a head at its end."""
    head = f"{x2:g},{y2:g} {x2 - 7:g},{y2 - 4:g} {x2 - 7:g},{y2 + 4:g}"
    return f'<path d="M{x1:g} {y1:g}L{x2 - 6:g} {y2:g}" stroke="{INK}" fill="none"/><polygon points="{head}" fill="{INK}"/>'


def attention_icon(drawing: Drawing) -> Iterator[str]:
    """Yield the square of who sees whom: a row a token that looks, a column a token that is seen."""
    attention, count, size = get_design(drawing.design).attention, len(drawing.tokens), 96
    cell = size / count
    yield text(16 + size / 2, 52, "who sees whom", size=11)
    for row in range(count):
        for column in range(count):
            seen = attention == "bidirectional" or column <= row
            place = f'x="{16 + column * cell:.1f}" y="{60 + row * cell:.1f}" width="{cell:.1f}" height="{cell:.1f}"'
            yield f'<rect {place} fill="{"#6fa8dc" if seen else UNREAD}" stroke="{LINE}" stroke-width="0.5"/>'
    yield text(16 + size / 2, 174, attention)


def states(drawing: Drawing) -> Iterator[str]:
    """Yield the tokens, and their states in the layers; those that the pooling reads are filled."""
    layers = get_design(drawing.design).layers
    for layer, y in LAYER_Y.items():
        yield text(LEFT - 16, y + 4, f"layer {layer}", size=11, anchor="end")
    for number, token in enumerate(drawing.tokens):
        x = LEFT + CELL * number + CELL / 2
        yield f'<path d="M{x:g} {TOKEN_Y - 12}L{x:g} {LAYER_Y["L"]}" stroke="{LINE}"/>'
        for layer, y in LAYER_Y.items():
            read = token.read and (layer == "L" or layers == "all")
            yield f'<circle cx="{x:g}" cy="{y}" r="8" fill="{READ if read else UNREAD}" stroke="{INK}"/>'
        box = f'x="{x - CELL / 2 + 2:g}" y="{TOKEN_Y - 12}" width="{CELL - 4}" height="24" rx="3"'
        yield f'<rect {box} fill="{FILLS[token.kind]}" stroke="{LINE}"/>'
        yield text(x, TOKEN_Y + 4, token.label, size=11)
        if drawing.weights:
            yield text(x + 13, LAYER_Y["L"] - 8, drawing.weights[number], size=11)


def boxes(drawing: Drawing, left: float) -> Iterator[str]:
    """Yield the steps from the states that are read to the unit vector."""
    middle = LAYER_Y["2"]
    for number, lines in enumerate(drawing.boxes):
        x, height = left + number * (BOX_WIDTH + BOX_GAP), 18 * len(lines) + 14
        yield arrow(x - BOX_GAP, middle, x, middle)
        place = f'x="{x:g}" y="{middle - height / 2:g}" width="{BOX_WIDTH}" height="{height}" rx="4"'
        yield f'<rect {place} fill="#f3f3f3" stroke="{INK}"/>'
        for place_of_line, line in enumerate(lines):
            yield text(x + BOX_WIDTH / 2, middle - height / 2 + 20 + 18 * place_of_line, line)
    end = left + len(drawing.boxes) * (BOX_WIDTH + BOX_GAP)
    yield arrow(end - BOX_GAP, middle, end, middle)
    for row in range(5):
        yield f'<rect x="{end + 6:g}" y="{middle - 40 + 16 * row:g}" width="16" height="16" fill="#ffe599" stroke="{INK}"/>'
    yield text(end + 28, middle - 4, "unit", anchor="start")
    yield text(end + 28, middle + 12, "vector", anchor="start")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or check them; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a file is not up to date")
    check = parser.parse_args(arguments).check
    stale = []
    for drawing in DRAWINGS:
        path, content = FOLDER / f"{drawing.name}.svg", svg_of(drawing)
        if not path.is_file() or path.read_text(encoding="utf-8") != content:
            stale.append(path.name)
            if not check:
                FOLDER.mkdir(exist_ok=True)
                path.write_text(content, encoding="utf-8")
    print(f"{'not up to date' if check else 'written'}: {', '.join(stale) or 'none'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
