import json
import shutil
import unicodedata

import numpy as np
import pytest
from awkward_texts import awkward_texts
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_folders import state

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.wordpiece import WordPiece, find_vocab, tokenizer_settings, truncate_pair


@pytest.fixture(scope="module")
def minilm(minilm_folder):
    return WordPiece.from_folder(minilm_folder)


def test_ids_with_and_without_special_tokens(wordpiece):
    assert wordpiece.tokenize(["The film is badly good!"])[0].tolist() == [6, 7, 8, 10, 11, 9, 15]
    encoded = wordpiece.encode(["the film", ""], max_length=8)
    assert [ids.tolist() for ids in encoded.ids] == [[3, 6, 7, 4], [3, 4]]
    assert [ids.tolist() for ids in encoded.type_ids] == [[0, 0, 0, 0], [0, 0]]
    assert encoded.lengths.tolist() == [4, 2]
    assert all(ids.dtype == np.int32 for ids in [*encoded.ids, *encoded.type_ids])


def test_pair_has_two_segments(wordpiece):
    encoded = wordpiece.encode(["a b"], ["c"], max_length=8)
    assert encoded.ids[0].tolist() == [3, 17, 18, 4, 19, 4]
    assert encoded.type_ids[0].tolist() == [0, 0, 0, 0, 1, 1]


def test_truncation_keeps_the_special_tokens(wordpiece):
    assert wordpiece.encode(["a b c"], max_length=4).ids[0].tolist() == [3, 17, 18, 4]
    # Four tokens are left for both: the longer first text loses until they are equal.
    pair = wordpiece.encode(["a b c a b"], ["c c c"], max_length=7)
    assert pair.ids[0].tolist() == [3, 17, 18, 4, 19, 19, 4]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(2, 16))
def test_truncate_pair_equals_dropping_one_at_a_time(first, second, room):
    a, b = list(range(first)), list(range(100, 100 + second))
    got = truncate_pair(np.array(a), np.array(b), room)
    while len(a) + len(b) > room:
        (a if len(a) > len(b) else b).pop()
    assert [part.tolist() for part in got] == [a, b]


def test_vocabulary_attributes(wordpiece):
    assert wordpiece.vocab_size == 20
    assert wordpiece.special_ids.tolist() == [0, 2, 3, 4, 5]
    assert (wordpiece.pad_id, wordpiece.unk_id, wordpiece.cls_id) == (0, 2, 3)
    assert (wordpiece.sep_id, wordpiece.mask_id) == (4, 5)
    assert wordpiece.replacement_ids.tolist() == list(range(6, 20))
    assert wordpiece.tokens([3, 16]) == ["[CLS]", "cafe"]


def test_special_tokens_in_a_text_are_plain_text(wordpiece):
    ids = wordpiece.tokenize(["good [SEP] [MASK] bad"])[0].tolist()
    assert ids[0] == 9 and ids[-1] == 10
    assert not {wordpiece.sep_id, wordpiece.mask_id} & set(ids)


def test_half_surrogate_pair_is_dropped(wordpiece):
    assert wordpiece.tokenize([json.loads('"go\\ud83dod"')])[0].tolist() == [9]


def test_accents_follow_the_case_unless_told_otherwise(vocab_path):
    cafe, unknown = [16], [2]
    assert WordPiece(vocab_path).tokenize(["Café"])[0].tolist() == cafe
    assert WordPiece(vocab_path, strip_accents=False).tokenize(["Café"])[0].tolist() == unknown
    assert WordPiece(vocab_path, lower_case=False).tokenize(["café"])[0].tolist() == unknown
    assert WordPiece(vocab_path, lower_case=False).tokenize(["cafe"])[0].tolist() == cafe


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" \t\r\n\u00a0\u3000 ", []),
        ("Crème brûlée", ["cr", "##eme", "br", "##ule", "##e"]),
        ("Cre\u0301me", ["cr", "##eme"]),
        ("日本語", ["日", "本", "語"]),
        ("go\x00o\ufffdd\x07 so", ["good", "so"]),
        ("soft\u00adhyphen zero\u200bwidth", ["soft", "##hy", "##ph", "##en", "zero", "##wi"]),
        ("don't", ["don", "'", "t"]),
        ("$5.00", ["$", "5", ".", "00"]),
        ("“So…”", ["“", "so", "…", "”"]),
        ("😀😀 ok", ["[UNK]", "ok"]),
        ("x" * 100 + " y", ["xx", "##xx", "##xx"]),
        ("x" * 101 + " y", ["[UNK]", "y"]),
        ("[SEP]", ["[", "sep", "]"]),
    ],
)
def test_awkward_texts(minilm, text, tokens):
    got = minilm.tokens(minilm.tokenize([text])[0])
    assert got[: len(tokens)] == tokens
    assert bool(got) == bool(tokens)


@pytest.fixture(scope="module")
def keras_nlp_tokenizer(minilm_folder):
    import tf_prune_ofa.keras_compat  # noqa: F401  its Keras must be chosen before keras_nlp's

    keras_nlp = pytest.importorskip("keras_nlp")
    # Accents stripped, as BERT did; keras-nlp leaves that off in every preset.
    return keras_nlp.tokenizers.BertTokenizer(
        str(minilm_folder / "vocab.txt"), lowercase=True, strip_accents=True
    )


def test_same_ids_as_keras_nlp_on_awkward_strings(minilm, keras_nlp_tokenizer):
    pieces = (
        "The film FILM don't rock'n'roll café Naïveté ÀÉÎÕÜ çedilla Cre\u0301me re\u0301sume\u0301 "
        "日本語 中文字符 ไทย हिन्दी עברית العربية Ελληνικά Кино ёлка 😀 👍🏽 C++ a_b "
        "~^|<=> $5.00 50% #1 @home e-mail “quoted” ‘so’ — – ¿Qué? ¡No! «oui» 1,000,000 3.14 "
        "A.B.C. http://x.y/?z=1 [CLS] [mask] ## ##ing unaffable supercalifragilistic ♥ € £ ©"
    ).split()
    pieces += ["x" * 100, "y" * 101, "z" * 250, ""]
    rng = np.random.default_rng(0)
    texts = ["", " ", "\n\t", *pieces]
    while len(texts) < 600:
        count = int(rng.integers(1, 7))
        parts = [pieces[i] for i in rng.integers(len(pieces), size=count)]
        texts.append(rng.choice([" ", "  ", "\n", ",", "-", " \t "]).join(parts))
    both = zip(texts, minilm.tokenize(texts), keras_nlp_tokenizer(texts), strict=True)
    differing = [text for text, ours, theirs in both if ours.tolist() != list(theirs)]
    assert not differing


@pytest.mark.parametrize(
    ("text", "ours", "theirs"),
    [
        # keras-nlp folds compatibility characters, BERT did not.
        ("so…", ["so", "…"], ["so", "..."]),
        ("№", ["№"], ["no"]),
        # BERT dropped control characters and U+FFFD.
        ("go\ufffdod", ["good"], ["[UNK]"]),
        # Taking accents off splits Hangul into its letters, for which the vocabulary has pieces;
        # keras-nlp puts them together again.
        ("한", ["ᄒ", "##ᅡ", "##ᆫ"], ["[UNK]"]),
    ],
)
def test_known_differences_from_keras_nlp(minilm, keras_nlp_tokenizer, text, ours, theirs):
    assert minilm.tokens(minilm.tokenize([text])[0]) == ours
    assert minilm.tokens(keras_nlp_tokenizer(text)) == theirs


def is_cjk(char):
    """The blocks of ideographs in BERT's own list."""
    blocks = [
        (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
    ]  # fmt: skip
    return any(low <= ord(char) <= high for low, high in blocks)


def bert_clean_up(text):
    """What BERT does to a text before it looks for words, once more, by Python's own tables."""
    out = []
    for char in text:
        if char in "\0\ufffd" or (unicodedata.category(char)[0] == "C" and char not in "\t\n\r"):
            continue
        out.append(" " if char.isspace() else f" {char} " if is_cjk(char) else char)
    bare = (
        c for c in unicodedata.normalize("NFD", "".join(out)) if unicodedata.category(c) != "Mn"
    )
    # One by one: at the end of a word, lower() of a whole text makes another sigma.
    return "".join(char.lower() for char in bare)


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.slow)])
def test_same_ids_as_keras_nlp_after_bert_s_clean_up(minilm, minilm_folder, count):
    """All that the two libraries differ in is that; words and word pieces are the same."""
    keras_nlp = pytest.importorskip("keras_nlp")
    plain = keras_nlp.tokenizers.BertTokenizer(
        str(minilm_folder / "vocab.txt"), lowercase=False, strip_accents=False
    )
    texts = awkward_texts(count, seed=0)
    theirs = plain([bert_clean_up(text) for text in texts])
    both = zip(texts, minilm.tokenize(texts), theirs, strict=True)
    assert not [text for text, ours, other in both if ours.tolist() != list(other)]


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.slow)])
def test_offsets_are_places_in_the_text_as_given(minilm, count):
    texts = awkward_texts(count, seed=1)
    ids, offsets = minilm.tokenize_with_offsets(texts)
    for text, tokens, places in zip(texts, ids, offsets, strict=True):
        np.testing.assert_array_equal(tokens, minilm.tokenize([text])[0])
        assert places.shape == (len(tokens), 2)
        # In order; the letters of one Hangul syllable or ligature may share their character.
        assert np.all(places[:, 0] < places[:, 1]) and np.all(np.diff(places[:, 0]) >= 0)
        for token, (start, end) in zip(minilm.tokens(tokens), places, strict=True):
            piece = token.removeprefix("##")
            if token != "[UNK]" and not is_hangul(text[start:end]):
                assert bert_clean_up(text[start:end]).strip() == piece, (text, token)


def is_hangul(text):
    return any("HANGUL" in unicodedata.name(char, "") for char in text)


def test_a_half_surrogate_pair_keeps_the_places_behind_it(wordpiece):
    text = json.loads('"the go\\ud83dod film"')
    _, (places,) = wordpiece.tokenize_with_offsets([text])
    assert [text[start:end] for start, end in places] == ["the", "go\ud83dod", "film"]


@settings(max_examples=200)
@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_text_gives_ids_in_the_vocabulary(wordpiece, texts):
    for ids in wordpiece.encode(texts, max_length=16).ids:
        assert ids[0] == wordpiece.cls_id and ids[-1] == wordpiece.sep_id
        assert 2 <= len(ids) <= 16 and ids.max() < wordpiece.vocab_size


def test_vocabulary_with_bom_crlf_and_unicode_line_ends(tmp_path):
    path = tmp_path / "vocab.txt"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2028", "b"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(tokens).encode() + b"\r\n")
    wordpiece = WordPiece(path)
    assert wordpiece.vocab_size == 7
    assert wordpiece.tokenize(["b"])[0].tolist() == [6]


def test_repeated_token_has_its_last_id_and_keeps_its_line(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n")
    wordpiece = WordPiece(path)
    assert wordpiece.vocab_size == 7
    assert wordpiece.tokenize(["a"])[0].tolist() == [6]
    assert wordpiece.replacement_ids.tolist() == [6]


def test_bad_vocabularies(tmp_path):
    with pytest.raises(UserError, match=r"No vocabulary at .*nothing\.txt"):
        WordPiece(tmp_path / "nothing.txt")
    with pytest.raises(UserError, match="is a folder"):
        WordPiece(tmp_path)
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\nword\n")
    with pytest.raises(UserError, match=r"4 tokens but not \[SEP\], \[MASK\]"):
        WordPiece(path)
    path.write_bytes(b"ok\n\xff\xfe")
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 3\)"):
        WordPiece(path)


def test_bad_arguments(wordpiece):
    with pytest.raises(UserError, match="use at least 3"):
        wordpiece.encode(["a"], max_length=2)
    with pytest.raises(UserError, match="use at least 5"):
        wordpiece.encode(["a"], ["b"], max_length=4)
    with pytest.raises(ValueError, match="1 texts but 2"):
        wordpiece.encode(["a"], ["b", "c"], max_length=8)
    with pytest.raises(TypeError, match="list of texts"):
        wordpiece.encode("a", max_length=8)


@pytest.fixture
def folder(tmp_path, vocab_path):
    shutil.copy(vocab_path, tmp_path / "vocab.txt")
    return tmp_path


def test_settings_of_the_real_model_folder(minilm_folder):
    assert tokenizer_settings(minilm_folder) == {
        "lower_case": True,
        "strip_accents": None,
        "split_chinese": True,
    }


def test_settings_are_read_from_the_first_file_that_states_them(folder):
    vocab = {line: index for index, line in enumerate((folder / "vocab.txt").read_text().split())}
    described = state(lower=False, strip=True, model={"vocab": vocab}, added_tokens=[])
    (folder / "tokenizer.json").write_text(json.dumps(described))
    assert tokenizer_settings(folder)["lower_case"] is False
    assert tokenizer_settings(folder)["strip_accents"] is True
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert tokenizer_settings(folder)["lower_case"] is True


def test_settings_of_a_keras_nlp_preset(tmp_path, vocab_path):
    (tmp_path / "assets" / "tokenizer").mkdir(parents=True)
    shutil.copy(vocab_path, tmp_path / "assets" / "tokenizer" / "vocabulary.txt")
    (tmp_path / "tokenizer.json").write_text(
        '{"config": {"lowercase": false, "strip_accents": false}}'
    )
    assert tokenizer_settings(tmp_path)["lower_case"] is False
    assert tokenizer_settings(tmp_path)["strip_accents"] is None
    assert WordPiece.from_folder(tmp_path).vocab_size == 20


def test_the_vocabulary_tells_the_case_where_nothing_else_does(folder):
    assert tokenizer_settings(folder)["lower_case"] is True
    with (folder / "vocab.txt").open("a") as file:
        file.write("Film\n")
    assert tokenizer_settings(folder)["lower_case"] is False


def test_bad_folders(tmp_path, folder):
    with pytest.raises(UserError, match=r"looked for vocab\.txt"):
        find_vocab(tmp_path / "empty")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": tr')
    with pytest.raises(UserError, match=r"tokenizer_config\.json is not valid JSON"):
        WordPiece.from_folder(folder)
    (folder / "tokenizer_config.json").write_text("[]")
    with pytest.raises(UserError, match="holds a list, not an object"):
        WordPiece.from_folder(folder)
