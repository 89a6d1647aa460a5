import io
import zipfile

import pytest

from tf_prune_ofa.verification import vocabulary

MODEL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "ab", "##", "###", "ab", "[X]"]


def archive(text, name="vocab.txt"):
    stream = io.BytesIO(b"TFL3 and so on")
    with zipfile.ZipFile(stream, "a") as packed:
        packed.writestr(name, text)
    return stream.getvalue()


def test_words_of_a_file():
    assert vocabulary.read_vocabulary(archive("a\n##a\n")) == ["a", "##a"]
    for content in (b"", b"no archive", archive("a", "labels.txt"), archive(b"\xff\xfe")):
        assert vocabulary.read_vocabulary(content) is None


@pytest.mark.parametrize(
    ("found", "places"),
    [
        (["[PAD]", "##a", "[X]"], [0, 6, 11]),
        (["ab"], [10]),  # listed twice: the last counts
        (["##a", "a"], None),
        (["a", "a"], None),
        (["a", "b"], None),
        ([], None),
    ],
)
def test_positions_in_the_model(found, places):
    ids = vocabulary.positions(found, MODEL)
    assert (ids if ids is None else ids.tolist()) == places


def test_what_every_text_may_need():
    needed = [*MODEL[:7], "###", "[X]"]
    assert vocabulary.find_problems(needed, MODEL, ["[X]"]) == []
    for piece, said in {"[MASK]": "1 special", "[X]": "1 special", "##a": "1 single"}.items():
        left = [one for one in needed if one != piece]
        (problem,) = vocabulary.find_problems(left, MODEL, ["[X]"])
        assert problem.startswith(said) and problem.endswith(f"first {piece}")
