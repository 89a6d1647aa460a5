import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.questions import Answer, Question
from tf_prune_ofa.text.windows import NO_PLACE, encode_windows, find_answers

CONTEXT = "The film is bad, a film is good!"  # ten tokens: the film is bad , a film is good !
QUESTION = Question("q", "is the film good", CONTEXT, (Answer("a film is good", 17),))


def windows_of(wordpiece, *questions, **settings):
    defaults = {"max_length": 12, "stride": 3, "question_length": 4}
    return encode_windows(questions or (QUESTION,), wordpiece, **{**defaults, **settings})


def test_windows_overlap_and_cover_the_context(wordpiece):
    windows = windows_of(wordpiece)
    # 12 - 4 - 3 = 5 tokens of context a window, each beginning 3 later.
    texts = [" ".join(wordpiece.tokens(ids)) for ids in windows.tokens.ids]
    assert texts == [
        "[CLS] is the film good [SEP] the film is bad , [SEP]",
        "[CLS] is the film good [SEP] bad , a film is [SEP]",
        "[CLS] is the film good [SEP] film is good ! [SEP]",
    ]
    assert windows.tokens.type_ids[2].tolist() == [0] * 6 + [1] * 5
    assert windows.question.tolist() == [0, 0, 0]
    # Only a window with the whole answer has it: none has "a film is good".
    assert windows.labels.tolist() == [[0, 0]] * 3


def test_labels_and_offsets(wordpiece):
    question = Question("q", "is the film good", CONTEXT, (Answer("film is", 19),))
    windows = windows_of(wordpiece, question)
    assert windows.labels.tolist() == [[0, 0], [9, 10], [6, 7]]
    for window, (first, last) in ((1, (9, 10)), (2, (6, 7))):
        places = windows.offsets[window]
        assert CONTEXT[places[first, 0] : places[last, 1]] == "film is"
    assert np.all(windows.offsets[1][:6] == NO_PLACE)
    assert np.all(windows.offsets[1][-1] == NO_PLACE)


def test_tokens_are_central_once(wordpiece):
    windows = windows_of(wordpiece)
    central = [
        [wordpiece.pieces[i] for i in ids[mask]]
        for ids, mask in zip(windows.tokens.ids, windows.is_central, strict=True)
    ]
    # The second "film is" has two tokens or none behind it in the second window, none or more
    # before it in the third.
    assert central == [["the", "film", "is", "bad"], [",", "a", "film"], ["is", "good", "!"]]


def test_half_a_word_is_answered_with_the_whole(wordpiece):
    """As the official baseline does: the answer's characters lie in that token."""
    question = Question("q", "is", "a film is goodly", (Answer("good", 10),))
    windows = windows_of(wordpiece, question)
    assert wordpiece.tokens(windows.tokens.ids[0][windows.labels[0, 0] :]) == [
        "good",
        "##ly",
        "[SEP]",
    ]
    assert windows.labels[0, 0] == windows.labels[0, 1]


def test_long_question_is_cut_and_room_is_checked(wordpiece):
    long = Question("q", "is " * 9, CONTEXT, ())
    windows = windows_of(wordpiece, long)
    assert len(windows.tokens.ids[0]) == 12
    assert wordpiece.tokens(windows.tokens.ids[0])[1:6] == ["is"] * 4 + ["[SEP]"]
    with pytest.raises(UserError, match=r"task\.max_length 7 leaves no room .* up to 4 tokens"):
        windows_of(wordpiece, max_length=7)


def test_no_token_is_left_out_by_a_long_stride(wordpiece):
    windows = windows_of(wordpiece, stride=99)
    shown = np.concatenate([at[at[:, 0] != NO_PLACE] for at in windows.offsets])
    assert len(windows) == 2 and len(shown) == 10


def test_empty_context_has_one_window_without_an_answer(wordpiece):
    windows = windows_of(wordpiece, Question("q", "is the film", " \n", ()))
    assert [len(ids) for ids in windows.tokens.ids] == [6]
    (found,) = find_answers(windows, np.zeros((1, 2, 12)))
    assert (found.text, found.candidates, found.null_score) == ("", (), 0)
    assert found.null_difference == np.inf


@given(st.text(max_size=60), st.integers(0, 59), st.integers(1, 12), st.integers(1, 9))
def test_every_answer_is_found_from_its_own_labels(wordpiece, context, start, size, stride):
    """Whatever the text: the answer comes back with at most the rest of its first and last word."""
    text = context[start : start + size]
    question = Question("q", "is", context, (Answer(text, start),) if text else ())
    windows = windows_of(wordpiece, question, max_length=20, stride=stride)
    logits = np.zeros((len(windows), 2, 20))
    for row, ends in zip(logits, windows.labels, strict=True):
        row[[0, 1], ends] = 9.0
    (found,) = find_answers(windows, logits)
    whole = [w for w in range(len(windows)) if windows.labels[w, 0] > 0]
    if any(windows.is_central[w][windows.labels[w, 0]] for w in whole):
        best = found.candidates[0]
        assert best.score == 18 and context[best.start : best.end] == found.text
        assert best.end > start and best.start < start + size


def test_candidates_by_hand(wordpiece):
    windows = windows_of(wordpiece, QUESTION, max_length=24, stride=24)
    # [CLS] is the film good [SEP] the film is bad , a film is good ! [SEP]: context from 6 to 15.
    logits = np.full((1, 2, 24), -9.0)
    logits[0, 0, [0, 2, 6, 11, 14]] = [1.0, 9.0, 2.0, 5.0, 4.0]
    logits[0, 1, [0, 3, 7, 14, 23]] = [0.5, 9.0, 3.0, 4.0, 9.0]
    (found,) = find_answers(windows, logits, n_best=4, answer_length=4)
    # 11 to 14 has four tokens; 6 to 14 has nine, and 11 to 7 runs backwards.
    assert [(c.text, c.score) for c in found.candidates[:3]] == [
        ("a film is good", 9.0),
        ("good", 8.0),
        ("The film", 5.0),
    ]
    assert (found.candidates[0].start, found.candidates[0].end) == (17, 31)
    assert found.null_score == 1.5 and found.null_difference == -7.5
    (shorter,) = find_answers(windows, logits, n_best=4, answer_length=3)
    assert shorter.text == "good"
    (one,) = find_answers(windows, logits, n_best=1)
    assert len(one.candidates) == 1


def test_no_answer_scores_as_in_the_least_window(wordpiece):
    windows = windows_of(wordpiece)
    logits = np.zeros((3, 2, 12))
    logits[:, 0, 0] = [4, 1, 7]
    assert find_answers(windows, logits)[0].null_score == 1


def test_an_answer_begins_where_it_is_central_only(wordpiece):
    """The second "film" is central in the second window, not in the third."""
    windows = windows_of(wordpiece)
    logits = np.zeros((3, 2, 12))
    logits[2, 0, 6], logits[2, 1, 6] = 50, 50
    logits[1, 0, 9], logits[1, 1, 9] = 5, 5
    (found,) = find_answers(windows, logits)
    assert (found.text, found.candidates[0].score) == ("film", 10)
