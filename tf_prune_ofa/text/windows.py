"""Questions as windows of tokens, and answers back from the windows' scores (Devlin et al. 2019).

A context that is too long for one sequence is cut into windows that overlap. Answers are given as
the characters of the original context, never as joined word pieces.

Legend: N windows · S sequence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.questions import Question
from tf_prune_ofa.text.tokenizer import Encoded, TextTokenizer

NO_PLACE = -1  # offset of a token that is not of the context


@dataclasses.dataclass(frozen=True)
class Windows:
    """Questions with a part of their context each: [CLS] question [SEP] part [SEP].

    Attributes:
        tokens: ids and type ids of each window.
        labels: int32 [N, 2], positions of the answer's first and last token; 0 ([CLS]) where the
            window does not hold all of it, or there is none.
        question: int32 [N], index of each window's question.
        offsets: for each window int32 [tokens, 2], the characters of the context that a token
            covers; `NO_PLACE` for the question and special tokens.
        is_central: for each window bool [tokens], whether no other window shows the token with
            more context around it. Answers begin at such tokens only.
        questions: what the windows were made of.
    """

    tokens: Encoded
    labels: np.ndarray
    question: np.ndarray
    offsets: list[np.ndarray]
    is_central: list[np.ndarray]
    questions: Sequence[Question]

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One possible answer to a question: its text, its place in the context, and its score."""

    text: str
    start: int
    end: int
    score: float


@dataclasses.dataclass(frozen=True)
class Found:
    """What a model says to a question.

    Attributes:
        candidates: the n best answers, the best first; empty if no span was possible.
        null_score: score of [CLS] to [CLS], which means no answer; the least over the windows.
    """

    candidates: tuple[Candidate, ...]
    null_score: float

    @property
    def text(self) -> str:
        """The best answer, or "" where no span was possible."""
        return self.candidates[0].text if self.candidates else ""

    @property
    def null_difference(self) -> float:
        """How much better no answer scores than the best one."""
        return self.null_score - self.candidates[0].score if self.candidates else np.inf


def encode_windows(
    questions: Sequence[Question],
    wordpiece: TextTokenizer,
    *,
    max_length: int,
    stride: int = 128,
    question_length: int = 64,
) -> Windows:
    """Cuts questions and their contexts into windows.

    Args:
        questions: what to encode.
        wordpiece: the tokenizer.
        max_length: longest window, special tokens included.
        stride: tokens from the start of one window's part of the context to the next one's; fewer
            where a part has no room for so many, so that none is left out.
        question_length: longer questions lose their end.

    Raises:
        UserError: a question of that length would leave no room for the context.
    """
    wordpiece.require_word_pieces("Finding answers in a text")
    if not has_room(max_length, question_length):
        raise UserError(
            f"task.max_length {max_length} leaves no room for a context behind a question of up to "
            f"{question_length} tokens; raise it or lower task.question_length"
        )
    # A context is often asked about several times: it is tokenized once.
    contexts = {text: index for index, text in enumerate({q.context: None for q in questions})}
    context_ids, context_offsets = wordpiece.tokenize_with_offsets(list(contexts))
    question_ids = wordpiece.tokenize([question.text for question in questions])
    cls, sep = np.array([wordpiece.cls_id], np.int32), np.array([wordpiece.sep_id], np.int32)

    ids, type_ids, labels, owner, offsets, central = [], [], [], [], [], []
    for index, question in enumerate(questions):
        asked = question_ids[index][:question_length]
        which = contexts[question.context]
        text, places = context_ids[which], context_offsets[which]
        room = max_length - len(asked) - 3
        parts = _parts(len(text), room, min(stride, room))
        is_central = _central(parts, len(text))
        answer = _answer_tokens(question, places)
        for (begin, end), best in zip(parts, is_central, strict=True):
            first = len(asked) + 2
            ids.append(np.concatenate([cls, asked, sep, text[begin:end], sep]))
            type_ids.append(np.repeat(np.array([0, 1], np.int32), [first, end - begin + 1]))
            if answer is not None and begin <= answer[0] and answer[1] < end:
                labels.append([place - begin + first for place in answer])
            else:
                labels.append([0, 0])
            owner.append(index)
            at = np.full((len(ids[-1]), 2), NO_PLACE, np.int32)
            at[first:-1] = places[begin:end]
            offsets.append(at)
            inside = np.zeros(len(at), bool)
            inside[first:-1] = best
            central.append(inside)
    return Windows(
        Encoded(ids, type_ids),
        np.array(labels, np.int32).reshape(-1, 2),
        np.array(owner, np.int32),
        offsets,
        central,
        questions,
    )


def has_room(max_length: int, question_length: int) -> bool:
    """Whether a question of that length leaves room for a context, beside the special tokens."""
    return max_length - question_length - 3 >= 1


def find_answers(
    windows: Windows, logits: np.ndarray, *, n_best: int = 20, answer_length: int = 30
) -> list[Found]:
    """Returns what the model says to each question, in their order.

    A candidate's score is its start logit plus its end logit. In each window the `n_best` starts
    are paired with the `n_best` ends; a pair counts if the end is not before the start, it has at
    most `answer_length` tokens, and its start is central there.

    Args:
        windows: as `encode_windows` made them.
        logits: [N, 2, S], of start and end; positions beyond a window's length do not matter.
        n_best: see above; also how many answers of a question are returned.
        answer_length: in tokens.
    """
    candidates: list[list[Candidate]] = [[] for _ in windows.questions]
    null_scores = np.full(len(windows.questions), np.inf)
    for window, owner in enumerate(windows.question):
        places, context = windows.offsets[window], windows.questions[owner].context
        start, end = logits[window, :, : len(places)].astype(np.float64)
        null_scores[owner] = min(null_scores[owner], start[0] + end[0])
        is_context = places[:, 0] != NO_PLACE
        starts = _best(np.where(is_context & windows.is_central[window], start, -np.inf), n_best)
        ends = _best(np.where(is_context, end, -np.inf), n_best)
        lengths = ends[None, :] - starts[:, None] + 1
        rows, columns = np.nonzero((lengths >= 1) & (lengths <= answer_length))
        for first, last in zip(starts[rows], ends[columns], strict=True):
            span = int(places[first, 0]), int(places[last, 1])
            score = float(start[first] + end[last])
            candidates[owner].append(Candidate(context[span[0] : span[1]], *span, score))
    found = []
    for one, null_score in zip(candidates, null_scores, strict=True):
        one.sort(key=lambda candidate: -candidate.score)
        found.append(Found(tuple(one[:n_best]), float(null_score)))
    return found


def _parts(count: int, room: int, stride: int) -> list[tuple[int, int]]:
    """First and last (exclusive) context token of each window; at least one window."""
    parts = [(0, min(room, count))]
    while parts[-1][1] < count:
        begin = parts[-1][0] + stride
        parts.append((begin, min(begin + room, count)))
    return parts


def _central(parts: list[tuple[int, int]], count: int) -> list[np.ndarray]:
    """For each part bool [tokens], whether it shows the token with the most context."""
    context = np.full((len(parts), count), -1.0)
    for row, (begin, end) in zip(context, parts, strict=True):
        places = np.arange(begin, end)
        # The smaller side counts; the length only where that is equal.
        row[begin:end] = np.minimum(places - begin, end - 1 - places) + 0.01 * (end - begin)
    best = np.argmax(context, axis=0) if count else np.zeros(0, int)
    return [best[begin:end] == index for index, (begin, end) in enumerate(parts)]


def _answer_tokens(question: Question, places: np.ndarray) -> tuple[int, int] | None:
    """First and last token that share a character with the answer."""
    answer = question.usual_answer
    if answer is None:
        return None
    touching = np.flatnonzero((places[:, 1] > answer.start) & (places[:, 0] < answer.end))
    # None, too, where the tokenizer makes nothing of the answer's characters.
    return (int(touching[0]), int(touching[-1])) if len(touching) else None


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` greatest finite scores, greatest first."""
    order = np.argsort(-scores, kind="stable")[:count]
    return order[np.isfinite(scores[order])]
