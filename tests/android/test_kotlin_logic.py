"""The Kotlin library's tokenizer, windows and choice of answers, on a JVM, against this package's.

Slow, as the Kotlin compiler is. It is an npm package: npm install kotlin-compiler@2.4.20, then name
its folder as KOTLIN_HOME.
"""

import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from awkward_texts import awkward_texts

from tf_prune_ofa.text.questions import Question
from tf_prune_ofa.text.windows import encode_windows, find_answers
from tf_prune_ofa.text.wordpiece import WordPiece
from tf_prune_ofa.tflite.text_settings import TextSettings

pytestmark = pytest.mark.slow

LIBRARY = Path(__file__).parents[2] / "android" / "textmodels" / "src"
# Without Android's own classes.
LOGIC = ("UnicodeTables", "WordPiece", "TextSettings", "PackedFiles", "Windows", "Answers")
# Question and text; a folder of SQuAD's form may be named to try real ones.
SQUAD = os.environ.get("TF_PRUNE_OFA_SQUAD")
LENGTH = 96


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The library's logic and a main function, as one jar."""
    home = os.environ.get("KOTLIN_HOME")
    compiler = f"{home}/bin/kotlinc" if home else shutil.which("kotlinc")
    if compiler is None or not shutil.which("java"):
        pytest.skip("java or the Kotlin compiler is missing: npm install kotlin-compiler@2.4.20")
    jar = tmp_path_factory.mktemp("kotlin") / "logic.jar"
    sources = [LIBRARY / f"main/kotlin/tfpruneofa/{name}.kt" for name in LOGIC]
    sources.append(LIBRARY / "test/kotlin/tfpruneofa/LogicMain.kt")
    command = ["bash", compiler, "-Werror", *map(str, sources), "-include-runtime", "-d", str(jar)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return f"{jar}{os.pathsep}{LIBRARY / 'main/resources'}"


@pytest.fixture(scope="module")
def vocabulary(minilm_folder):
    return (minilm_folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]


def ask(program, path, questions):
    """The program's answers, after its settings."""
    text = "".join("\t".join([kind, *map(to_hex, texts)]) + "\n" for kind, *texts in questions)
    command = ["java", "-cp", program, "tfpruneofa.LogicMainKt", str(path), str(LENGTH)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[1:]


def to_hex(text):
    return text.encode("utf-16-be", "surrogatepass").hex()


def model_file(folder, pieces, settings):
    stream = io.BytesIO(b"TFL3" * 100)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("vocab.txt", "\n".join(pieces) + "\n")
        archive.writestr("text_settings.json", settings.to_json())
    (folder / "model.tflite").write_bytes(stream.getvalue())
    return folder / "model.tflite"


def tokenizer(pieces, settings):
    return WordPiece(
        pieces,
        settings.lower_case,
        strip_accents=settings.strip_accents,
        split_chinese=settings.split_chinese,
        clean_up=settings.clean_up,
    )


def units(text, place):
    """A place counted in UTF-16 units, as Java's strings are."""
    return len(text[:place].encode("utf-16-be", "surrogatepass")) // 2


SETTINGS = [
    TextSettings(),
    TextSettings(lower_case=False),
    TextSettings(strip_accents=False),
    TextSettings(lower_case=False, strip_accents=True, split_chinese=False),
    TextSettings(clean_up="mediapipe"),
]


@pytest.mark.parametrize(
    "settings", SETTINGS, ids=["both", "neither", "lower", "strip", "mediapipe"]
)
def test_word_pieces(program, vocabulary, tmp_path, settings):
    wordpiece = tokenizer(vocabulary, settings)
    texts = [*awkward_texts(1500, seed=7), *random_texts(500)]
    answers = ask(
        program, model_file(tmp_path, vocabulary, settings), [("pieces", t) for t in texts]
    )
    ids, offsets = wordpiece.tokenize_with_offsets(texts)
    different = [
        (text, answer)
        for text, answer, own, places in zip(texts, answers, ids, offsets, strict=True)
        if answer
        != "|".join(
            " ".join(map(str, part))
            for part in (
                own,
                [units(text, place) for place in places[:, 0]],
                [units(text, place) for place in places[:, 1]],
            )
        )
    ]
    assert not different, f"{len(different)} of {len(texts)}: {different[:3]}"


def random_texts(count):
    """Characters from all over Unicode, between ordinary letters."""
    rng = np.random.default_rng(3)
    limits = [0x250, 0x3000, 0x10000, 0x110000]
    return [
        "".join(
            chr(int(rng.integers(0, rng.choice(limits)))) if rng.random() < 0.7 else "ab "[i % 3]
            for i in range(int(rng.integers(1, 60)))
        )
        for _ in range(count)
    ]


def test_pairs_are_cut_alike(program, vocabulary, tmp_path):
    settings = TextSettings()
    texts = awkward_texts(201, seed=8)
    pairs = [
        (f"{texts[i]} {texts[i + 1]} " * (1 + i % 9), f"{texts[i + 1]} " * (1 + i % 7))
        for i in range(200)
    ]
    path = model_file(tmp_path, vocabulary, settings)
    singles = ask(program, path, [("encode", a) for a, _ in pairs])
    doubles = ask(program, path, [("encode", *pair) for pair in pairs])
    wordpiece = tokenizer(vocabulary, settings)
    for answers, others in ((singles, None), (doubles, [b for _, b in pairs])):
        own = wordpiece.encode([a for a, _ in pairs], others, max_length=LENGTH)
        expected = [
            "|".join(" ".join(map(str, part)) for part in parts)
            for parts in zip(own.ids, own.type_ids, strict=True)
        ]
        assert answers == expected


def questions():
    if SQUAD:
        from tf_prune_ofa.data.squad import read_squad

        return read_squad(SQUAD)[:500]
    texts = awkward_texts(4000, seed=9)
    return [
        Question(str(i), " ".join(texts[i : i + 2]), " ".join(texts[8 * i : 8 * i + 8]), ())
        for i in range(500)
    ]


@pytest.mark.parametrize("no_answer_above", [None, 2.5])
def test_windows_and_answers(program, vocabulary, tmp_path, no_answer_above):
    settings = TextSettings(question_length=20, stride=40, no_answer_above=no_answer_above)
    asked = questions()
    path = model_file(tmp_path, vocabulary, settings)
    answers = ask(program, path, [("answer", q.text, q.context) for q in asked])
    wordpiece = tokenizer(vocabulary, settings)
    different = [
        (question.id, answer, own)
        for question, answer in zip(asked, answers, strict=True)
        for own in [expected(question, wordpiece, settings)]
        if answer.split("\t") != own
    ]
    assert not different, f"{len(different)} of {len(asked)}: {different[0]}"


def expected(question, wordpiece, settings):
    """What the program says, from this package's own functions."""
    windows = encode_windows(
        [question],
        wordpiece,
        max_length=LENGTH,
        stride=settings.stride,
        question_length=settings.question_length,
    )
    logits = np.zeros([len(windows), 2, LENGTH], np.float32)
    shown = []
    for index, ids in enumerate(windows.tokens.ids):
        places = np.arange(len(ids))
        for end, factor in enumerate((7919, 104729)):
            numbers = (ids.astype(np.int64) * factor + places * 31 + len(ids)).astype(np.int32)
            # As Java's remainder, which has the sign of the number.
            logits[index, end, : len(ids)] = np.fmod(numbers, 1000).astype(np.float32) / np.float32(
                100
            )
        at = [
            [units(question.context, p) if p >= 0 else -1 for p in row]
            for row in windows.offsets[index].T
        ]
        parts = (ids, windows.tokens.type_ids[index], *at)
        central = "".join(str(int(flag)) for flag in windows.is_central[index])
        shown.append("|".join(" ".join(map(str, part)) for part in parts) + f"|{central}")
    [found] = find_answers(
        windows, logits, n_best=settings.n_best, answer_length=settings.answer_length
    )
    above, difference = settings.no_answer_above, found.null_difference
    best = found.candidates[0] if found.candidates else None
    if best is None or (above is not None and difference > above):
        top = (-1, -1, found.null_score)
    else:
        top = (units(question.context, best.start), units(question.context, best.end), best.score)
    rest = [
        f"{units(question.context, c.start)} {units(question.context, c.end)} {number(c.score)}"
        for c in found.candidates
    ]
    head = f"{top[0]} {top[1]} {number(top[2])} {number(difference)}"
    return [*shown, head, *rest]


def number(value):
    """As Java writes a double."""
    if np.isinf(value):
        return "Infinity"
    return repr(float(value))


def test_settings_are_read_alike():
    text = (LIBRARY / "main/kotlin/tfpruneofa/TextSettings.kt").read_text(encoding="utf-8")
    assert set(re.findall(r'^            "(\w+)" ->', text, re.MULTILINE)) == set(
        json.loads(TextSettings(clean_up="mediapipe").to_json())
    )
