import numpy as np
import pytest

from tf_prune_ofa.data.mixed_texts import texts_of, with_special_tokens

CLS, SEP = 1, 2
SPECIAL = {"cls_id": CLS, "sep_id": SEP}


def test_segments_by_hand():
    ids, second = with_special_tokens([5, 6], None, **SPECIAL)
    assert (list(ids), second) == ([CLS, 5, 6, SEP], 4)
    ids, second = with_special_tokens([5, 6], [7], **SPECIAL)
    assert (list(ids), second) == ([CLS, 5, 6, SEP, 7, SEP], 4)


@pytest.mark.parametrize("second", [None, [7] * 50])
def test_long_segments_are_cut_to_the_limit(second):
    ids, start = with_special_tokens([5] * 90, second, **SPECIAL, limit=40)
    assert len(ids) == 40 and ids[-1] == SEP
    if second:
        assert ids[start - 1] == SEP
        # Both keep half of the room: the longer one is cut.
        assert abs((ids == 5).sum() - (ids == 7).sum()) <= 1


def test_every_sentence_is_there_once_and_texts_have_one_or_two_segments():
    rng = np.random.default_rng(0)
    # Words are numbers of their own, so that each can be found again.
    words = iter(range(10, 100_000))
    documents = [
        [np.array([next(words) for _ in range(rng.integers(4, 20))]) for _ in range(12)]
        for _ in range(40)
    ]
    texts = list(texts_of(documents, np.random.default_rng(1), **SPECIAL))
    seen = np.concatenate([ids[1:start] for ids, start in texts])
    of_second = np.concatenate([ids[start:] for ids, start in texts])
    everything = np.concatenate([s for document in documents for s in document])
    assert set(everything) <= {*seen, *of_second}
    assert max(len(ids) for ids, _ in texts) <= 128
    pairs = np.mean([start < len(ids) for ids, start in texts])
    assert 0.4 < pairs < 0.7
    for ids, start in texts:
        assert ids[0] == CLS and ids[-1] == SEP and ids[start - 1] == SEP
        assert (ids == SEP).sum() == 1 + (start < len(ids))
    again = list(texts_of(documents, np.random.default_rng(1), **SPECIAL))
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(texts, again, strict=True))
    longer = [
        len(ids)
        for ids, _ in texts_of(
            documents, np.random.default_rng(1), **SPECIAL, lengths=(192,), shares=(1.0,)
        )
    ]
    assert 128 < np.median(longer) <= max(longer) <= 192
