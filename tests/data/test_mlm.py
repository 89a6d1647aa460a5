import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_prune_ofa.data.mlm import mask_tokens, max_predictions, mlm_batch
from tf_prune_ofa.data.segments import MlmExamples, chunks, segment_pairs
from tf_prune_ofa.errors import UserError

CLS, SEP, MASK = 3, 4, 5  # of the vocabulary in conftest.py; 6 to 19 are words
words = st.lists(st.integers(6, 19), max_size=60)


def with_ends(ids):
    return np.array([CLS, *ids, SEP], np.int32)


def passages(*lengths):
    """Passages of these lengths; the n-th consists of the id 6 + n."""
    return [np.full(length, 6 + number, np.int32) for number, length in enumerate(lengths)]


@given(words, st.integers(0, 1000))
def test_masking_hides_the_asked_share_and_nothing_else(wordpiece, content, seed):
    ids = with_ends(content)
    before = ids.copy()
    places = max_predictions(len(ids))
    got = mask_tokens(ids, np.random.default_rng(seed), wordpiece, predictions=places)
    np.testing.assert_array_equal(ids, before)

    count = int(got.weights.sum())
    assert count == (max(1, round(0.15 * len(content))) if content else 0)
    assert got.weights.tolist() == [1] * count + [0] * (places - count)
    chosen = got.positions[:count]
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    np.testing.assert_array_equal(got.labels[:count], ids[chosen])
    assert not got.positions[count:].any() and not got.labels[count:].any()

    assert not np.isin(ids[chosen], wordpiece.special_ids).any()
    untouched = np.delete(np.arange(len(ids)), chosen)
    np.testing.assert_array_equal(got.input_ids[untouched], ids[untouched])
    allowed = {MASK, *wordpiece.replacement_ids.tolist()}
    assert set(got.input_ids[chosen].tolist()) <= allowed


def test_80_percent_mask_10_random_10_kept(wordpiece):
    ids = with_ends([6] * 20_000)
    got = mask_tokens(ids, np.random.default_rng(0), wordpiece, predictions=3000)
    put = got.input_ids[got.positions]
    # Shares of 3,000 draws; three standard deviations are 0.022 for 0.8 and 0.017 for 0.1.
    assert (put == MASK).mean() == pytest.approx(0.8, abs=0.022)
    # One random id in 14 is the original one itself.
    assert (put == 6).mean() == pytest.approx(0.1 + 0.1 / 14, abs=0.017)
    assert set(put.tolist()) == {MASK, *range(6, 20)}


def test_never_more_predictions_than_places(wordpiece):
    got = mask_tokens(with_ends([6] * 40), np.random.default_rng(0), wordpiece, predictions=2)
    assert got.weights.tolist() == [1, 1]


def test_max_predictions():
    assert [max_predictions(n) for n in (2, 8, 64, 128, 512)] == [1, 1, 10, 19, 77]
    # What a shorter sequence needs always fits.
    assert all(max_predictions(n) <= max_predictions(n + 1) for n in range(1, 600))


def examples(count=9):
    rng = np.random.default_rng(5)
    ids = [with_ends(rng.integers(6, 20, rng.integers(1, 30))) for _ in range(count)]
    return MlmExamples(ids, [np.zeros(len(one), np.int32) for one in ids])


def test_batch(wordpiece):
    data = examples()
    batch = mlm_batch(data, [4, 0, 7], wordpiece, seed=1, epoch=0, max_length=40)
    width = -(-max(len(data.ids[i]) for i in (4, 0, 7)) // 8) * 8
    places = max_predictions(width)
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "input_word_ids": ((3, width), "int32"),
        "input_mask": ((3, width), "int32"),
        "input_type_ids": ((3, width), "int32"),
        "mlm_positions": ((3, places), "int32"),
        "mlm_labels": ((3, places), "int32"),
        "mlm_weights": ((3, places), "float32"),
    }
    assert batch["input_mask"].sum(axis=1).tolist() == [len(data.ids[i]) for i in (4, 0, 7)]
    for row, index in enumerate((4, 0, 7)):
        restored = batch["input_word_ids"][row].copy()
        used = batch["mlm_weights"][row] == 1
        restored[batch["mlm_positions"][row][used]] = batch["mlm_labels"][row][used]
        np.testing.assert_array_equal(restored[: len(data.ids[index])], data.ids[index])


def test_masks_depend_on_seed_epoch_and_example_only(wordpiece):
    data = examples()
    longest = int(np.argmax(data.lengths))
    others = [i for i in range(9) if i != longest]

    def row_of(indices, **changes):
        settings = {"seed": 1, "epoch": 2, "max_length": 40, "multiple": 40, **changes}
        batch = mlm_batch(data, indices, wordpiece, **settings)
        return [array[indices.index(longest)].tolist() for array in batch.values()]

    alone = row_of([longest])
    assert row_of([others[4], longest, others[0]]) == alone
    assert row_of([longest], seed=2) != alone
    assert row_of([longest], epoch=3) != alone


def test_batch_without_token_types(wordpiece):
    batch = mlm_batch(examples(), [0], wordpiece, seed=0, epoch=0, max_length=40, token_types=False)
    assert "input_type_ids" not in batch


def test_chunks_pack_whole_passages_of_one_document(wordpiece):
    # Room for six tokens between [CLS] and [SEP].
    documents = [passages(2, 3, 2, 4), passages(1)]
    packed = chunks(documents, wordpiece, max_length=8)
    assert [one.tolist() for one in packed.ids] == [
        [CLS, 6, 6, 7, 7, 7, SEP],
        [CLS, 8, 8, 9, 9, 9, 9, SEP],
        [CLS, 6, SEP],
    ]
    assert packed.lengths.tolist() == [7, 8, 3]
    assert all(not types.any() for types in packed.type_ids)
    alone = chunks(documents, wordpiece, max_length=8, pack=False)
    assert [len(one) - 2 for one in alone.ids] == [2, 3, 2, 4, 1]


def test_chunks_cut_long_passages(wordpiece):
    text = np.arange(6, 19, dtype=np.int32)
    documents = [[text, np.array([19], np.int32)]]
    cut = chunks(documents, wordpiece, max_length=8)
    assert [one[1:-1].tolist() for one in cut.ids] == [
        [6, 7, 8, 9, 10, 11],
        [12, 13, 14, 15, 16, 17],
        [18, 19],
    ]
    assert len(chunks(documents, wordpiece, max_length=8, pack=False).ids) == 4


@given(st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=5), st.booleans())
def test_chunks_lose_and_repeat_nothing(wordpiece, lengths, pack):
    documents = [passages(*document) for document in lengths]
    tokens = [token for document in documents for passage in document for token in passage]
    if not tokens:
        with pytest.raises(UserError, match="is empty"):
            chunks(documents, wordpiece, max_length=10, pack=pack)
        return
    cut = chunks(documents, wordpiece, max_length=10, pack=pack)
    assert np.concatenate([one[1:-1] for one in cut.ids]).tolist() == tokens
    assert cut.lengths.min() >= 3 and cut.lengths.max() <= 10


def document_of(number, sentences, length):
    """Sentences whose ids tell document and sentence: 1000 * document + sentence."""
    return [np.full(length, 1000 * number + n, np.int32) for n in range(sentences)]


def test_segment_pairs(wordpiece):
    documents = [document_of(number, 40, 3) for number in range(1, 30)]
    data = segment_pairs(documents, wordpiece, max_length=32, seed=3)
    follows = 0
    for ids, types, label in zip(data.ids, data.type_ids, data.nsp_labels, strict=True):
        assert len(ids) == len(types) <= 32
        assert ids[0] == CLS and ids[-1] == SEP and (ids == SEP).sum() == 2
        border = int(np.flatnonzero(ids == SEP)[0])
        assert types.tolist() == [0] * (border + 1) + [1] * (len(ids) - border - 1)
        first, second = ids[1:border], ids[border + 1 : -1]
        assert len(first) and len(second)
        if label == 0:
            assert second[0] // 1000 == first[0] // 1000
            follows += 1
        else:
            assert second[0] // 1000 != first[0] // 1000
    # About 400 examples: three standard deviations of the share are 0.075. Single leftover
    # sentences at the end of a document, which always get a random segment, add a little.
    assert follows / len(data.ids) == pytest.approx(0.5, abs=0.1)


def test_segment_pairs_use_every_sentence_as_own_text(wordpiece):
    documents = [document_of(number, 17, 2) for number in range(1, 6)]
    data = segment_pairs(documents, wordpiece, max_length=16, short_rate=0.3, seed=0)
    own = set()
    for ids, label in zip(data.ids, data.nsp_labels, strict=True):
        border = int(np.flatnonzero(ids == SEP)[0])
        own |= set(ids[1 : border if label else -1].tolist()) - {SEP}
    assert own == {int(sentence[0]) for document in documents for sentence in document}


def test_segment_pairs_are_a_function_of_the_seed(wordpiece):
    documents = [document_of(number, 9, 3) for number in range(1, 6)]

    def made(seed):
        data = segment_pairs(documents, wordpiece, max_length=24, seed=seed)
        return [one.tolist() for one in data.ids]

    assert made(0) == made(0) != made(1)


def test_segment_pairs_go_into_batches(wordpiece):
    data = segment_pairs([passages(3, 4), passages(5, 2)], wordpiece, max_length=24, seed=0)
    batch = mlm_batch(data, [1, 0], wordpiece, seed=0, epoch=0, max_length=24)
    assert batch["nsp_labels"].tolist() == [data.nsp_labels[1], data.nsp_labels[0]]
    assert batch["input_type_ids"].max() == 1


def test_bad_input(wordpiece):
    with pytest.raises(UserError, match="use 3 or more"):
        chunks([passages(3)], wordpiece, max_length=2)
    with pytest.raises(UserError, match=r"use 5\+"):
        segment_pairs([passages(3)] * 2, wordpiece, max_length=4)
    with pytest.raises(UserError, match="1 documents with text"):
        segment_pairs([passages(3), passages(0)], wordpiece, max_length=9)


def test_whole_words_are_masked_whole(wordpiece):
    # ##ly is 11 and ##ness 12: words of one, two and three tokens.
    ids = with_ends([8, 11, 12, 9, 10, 11, 13, 6, 9, 8, 11, 7] * 4)
    continues = np.isin(np.arange(20), [11, 12])
    words = np.cumsum(~continues[ids])
    totals = set()
    for seed in range(200):
        one = mask_tokens(
            ids, np.random.default_rng(seed), wordpiece, predictions=7, continues=continues
        )
        count = int(one.weights.sum())
        chosen = one.positions[:count]
        assert one.labels[:count].tolist() == ids[chosen].tolist()
        assert np.array_equal(np.isin(words, words[chosen]).nonzero()[0], chosen)
        totals.add(count)
    # A word that would be too many is passed over, and a shorter one takes its place.
    assert totals == {7}
    again = [
        mask_tokens(ids, np.random.default_rng(0), wordpiece, predictions=7, continues=continues)
        for _ in range(2)
    ]
    assert np.array_equal(again[0].input_ids, again[1].input_ids)
