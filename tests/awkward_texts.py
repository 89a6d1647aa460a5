"""Texts that tokenizers trip over, from a seed."""

import random

# By what is awkward about them. A text is a few pieces of a few kinds, with or without spaces.
KINDS = {
    "words": ["film", "The", "unbelievable", "don't", "U.S.A.", "e-mail", "3.14", "[SEP]", "##ing"],
    "accents": ["café", "Zoë", "naïve", "cafe\u0301", "ÅNGSTRÖM", "ǆ", "ñandú", "Ệ", "résumé"],
    "letters": ["Straße", "İstanbul", "ΣΊΣΥΦΟΣ", "Привет", "עברית", "مرحبا", "हिन्दी", "ไทย", "ﬁ"],
    "cjk": ["中文", "日本語", "한국어", "電影good", "㐀", "\U00020000", "、", "。", "ｆｕｌｌ"],
    "control": list("\x00\x07\x1b\x7f\x85\x9f\ufffd\ufeff\u200b\xad"),
    "spaces": [" ", "\t", "\n", "\r\n", "\xa0", "\u2003", "\u2028", "\u3000", "  "],
    "emoji": ["😀", "👩\u200d🔬", "🇩🇪", "❤\ufe0f", "👍🏽", "1\ufe0f\u20e3", "☃", "™"],
    "signs": ["…", "“", "”", "–", "€", "$", "^", "`", "~", "½", "²", "№", "!?", "&amp;", "\\"],
    "long": ["a" * 100, "b" * 101, "x" * 500, "é" * 99 + "y", "supercalifragilistic" * 8],
}


def awkward_texts(count: int, seed: int) -> list[str]:
    """Texts of up to eight pieces; the first is empty."""
    rng = random.Random(seed)
    texts = [""]
    while len(texts) < count:
        kinds = rng.sample(list(KINDS), rng.randint(1, 3))
        pieces = [rng.choice(KINDS[rng.choice(kinds)]) for _ in range(rng.randint(0, 8))]
        texts.append(rng.choice(["", " ", " "]).join(pieces))
    return texts
