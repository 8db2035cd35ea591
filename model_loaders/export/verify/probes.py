"""The 64 texts by which an exported folder is compared with its model."""

from __future__ import annotations

TEXTS = 64
SENTENCES = (
    "The capital of France is Paris.",
    "What is the capital of France?",
    "Mean pooling averages the vectors of all tokens.",
    "The last token of a causal decoder has seen the whole text.",
    "A sparrow sat on the roof and sang until the rain came.",
    "Interest rates rose by half a point in the third quarter.",
    "How do I reset my password?",
    "To reset a password, open the settings and choose security.",
    "The patient was given 5 mg of the drug twice a day.",
    "Aspirin reduces fever and thins the blood.",
    "import numpy as np\nprint(np.arange(10).mean())",
    "SELECT name, count(*) FROM users GROUP BY name;",
    '{"key": [1, 2.5, null], "nested": {"a": "b"}}',
    "<html><body><p>Hello</p></body></html>",
    "https://example.org/path?query=1#part",
    "She said: \"It isn't over.\" He didn't answer.",
    "1234567890 3.14159 -42 1e-9 0xff",
    "Chess is played on a board of sixty-four squares.",
    "The knight moves in the shape of an L.",
    "Bread is made of flour, water, salt and yeast.",
    "Bake the dough for forty minutes at 220 degrees.",
    "Stars are born in clouds of gas and dust.",
    "A black hole bends the light that passes near it.",
    "word1 word2 word3 word4",
    "word5 word6",
    "word7",
)
ODD = (
    "",
    " ",
    "\n\t \r\n",
    "\0",
    "a\0b",
    "\ufeffbegins with a byte order mark",
    "<s>literal</s> special <unk> <pad> tokens <|endoftext|> <|im_end|> <eos>",
    "{text} {prompt} {{}} {|x|}",
    "ﬁne ﬂow ligatures ﬀ ﬃ",
    "ｆｕｌｌ ｗｉｄｔｈ １２３",
    "cafe\u0301 and café, A\u030a and Å",
    "ZERO\u200bWIDTH\u200djoiner\u2060",
    "مرحبا بالعالم",
    "שלום עולם",
    "你好，世界",
    "こんにちは、世界",
    "안녕하세요 세계",
    "नमस्ते दुनिया",
    "Привет, мир",
    "Γειά σου Κόσμε",
    "สวัสดีชาวโลก",
    "😀 👩‍👩‍👧‍👦 🇫🇷 ✈️",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𓀀 𐍈",
    "∑ x² ≤ √y ± ∞ → ∀ε",
    "MiXeD CaSe AND UPPER",
    "a" * 300,
    "the " * 40,
    "… — – ‘quoted’ “double” «guillemets»",
    "trailing space ",
    " leading space",
    "double  space   inside",
)


def probe_texts(max_length: int) -> list[str]:
    """Return the texts; the long ones reach beyond ``max_length`` tokens where that is not beyond reason.

    >>> len(probe_texts(128))
    64
    """
    words = max(min(2 * max_length, 4096), 64)
    near = [" ".join(f"word{number % 50}" for number in range(count)) for count in near_lengths(max_length)]
    passage = " ".join(SENTENCES[:10])
    long = [passage * (1 + words // 100), "ab cd " * words, "x" * 3000]
    texts = [*SENTENCES, *ODD, *near, *long]
    assert len(texts) == TEXTS, len(texts)
    return texts


def near_lengths(max_length: int) -> list[int]:
    """Return numbers of words near the maximum length, within reason."""
    most = min(max_length, 2048)
    return [max(1, most + change) for change in (-3, -2, -1, 0)]
