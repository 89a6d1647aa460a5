"""What the records should be, from the definition, without the pipeline's code.

Slow and in memory: one document after the other, one token at a time where there is a choice. The
tokenizer is Hugging Face's own; NumPy's generator is part of the definition.
"""

import hashlib
import re

import numpy as np
from tokenizers import BertWordPieceTokenizer

ENDS = ".!?…"
CLOSING = "\"'”’)]"
OPENING = "\"'“‘(["


def sentences_of(text):
    """Cut behind each end of a sentence that a capital letter A-Z or a digit comes after."""
    found, start, place = [], 0, 0
    while place < len(text):
        if text[place] in ENDS:
            end = place + 1
            while end < len(text) and text[end] in CLOSING:
                end += 1
            begin = end
            while begin < len(text) and text[begin].isspace():
                begin += 1
            opening = begin
            while opening < len(text) and text[opening] in OPENING:
                opening += 1
            is_border = begin > end and opening < len(text)
            if is_border and re.match("[A-Z0-9]", text[opening]):
                found.append(text[start:begin].strip())
                start = place = begin
                continue
        place += 1
    found.append(text[start:].strip())
    return [one for one in found if one]


def hash_of(text):
    return int(hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), 16)


def split_of(value, dev_share):
    return "dev" if (value % 2**32) / 2**32 < dev_share else "train"


def reference(texts, vocabulary, *, form, length, buckets, seed, short_rate, dev_share, least):
    """Return {split: [(ids, second, label)]} of the records in order."""
    tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    documents = {}
    for text in texts:
        text = " ".join(text.split())
        if len(text) >= least:
            documents[hash_of(text)] = text
    records = {"train": [], "dev": []}
    for bucket in range(buckets):
        for split in records:
            chosen = [
                value
                for value in sorted(documents)
                if value * buckets // 2**64 == bucket and split_of(value, dev_share) == split
            ]
            ids = []
            for value in chosen:
                parts = [
                    tokenizer.encode(one, add_special_tokens=False).ids
                    for one in sentences_of(documents[value])
                ]
                ids.append([part for part in parts if part])
            if form == "packed":
                records[split] += [r for one in ids for r in packed(one, length, cls, sep)]
            elif len(chosen) > 1:
                for number, value in enumerate(chosen):
                    rng = np.random.default_rng((seed, value))
                    records[split] += pairs(ids, number, rng, length, short_rate, cls, sep)
    return records


def packed(sentences, length, cls, sep):
    room, rows = length - 2, []
    for sentence in sentences:
        for start in range(0, len(sentence), room):
            piece = sentence[start : start + room]
            if rows and len(rows[-1]) + len(piece) <= room:
                rows[-1] += piece
            else:
                rows.append(list(piece))
    return [([cls, *row, sep], 0, 0) for row in rows]


def pairs(documents, number, rng, length, short_rate, cls, sep):
    room, rows, document, start = length - 3, [], documents[number], 0
    while start < len(document):
        target = int(rng.integers(2, room + 1)) if rng.random() < short_rate else room
        end = fill(document, start, target)
        cut = int(rng.integers(start + 1, end)) if end - start > 1 else end
        first = sum(document[start:cut], [])
        label = 0
        if cut == end or rng.random() < 0.5:
            label = 1
            others = documents[:number] + documents[number + 1 :]
            other = others[int(rng.integers(len(others)))]
            place = int(rng.integers(len(other)))
            second = sum(other[place : fill(other, place, target - len(first))], [])
            start = cut
        else:
            second = sum(document[cut:end], [])
            start = end
        while len(first) + len(second) > room:
            # The longer one loses its end; of two that are equally long, the second.
            (first if len(first) > len(second) else second).pop()
        rows.append(([cls, *first, sep, *second, sep], len(first) + 2, label))
    return rows


def fill(document, start, target):
    total, end = 0, start
    while end < len(document):
        total += len(document[end])
        end += 1
        if total >= target:
            break
    return end
