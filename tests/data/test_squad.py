import json

import numpy as np
import pytest

from tf_prune_ofa.data.squad import (
    Answer,
    Question,
    SpanSplit,
    made_up_task,
    read_squad,
    squad_task,
    tfds_squad_task,
)
from tf_prune_ofa.errors import UserError

CONTEXT = "Zoë sees the Nile. The Nile is long."


def squad_file(path, *entries, context=CONTEXT):
    """A file with one paragraph; an entry is (id, answers) with answers as (text, start)."""
    qas = []
    for name, answers in entries:
        listed = [{"text": text, "answer_start": start} for text, start in answers]
        qas.append({"id": name, "question": f"{name}?", "answers": listed})
    paragraphs = [{"context": context, "qas": qas}]
    data = {"version": "1.1", "data": [{"title": "T", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_questions_and_answers(tmp_path):
    answers = [("Nile", 13), ("The Nile", 19), ("The Nile", 19)]
    path = squad_file(tmp_path / "train.json", ("What", answers))
    task = squad_task(path, path)
    assert (task.name, task.labels, task.metrics) == ("train", (), ("f1", "exact_match"))
    (question,) = task.train.questions
    assert (question.id, question.text, question.context) == ("What", "What?", CONTEXT)
    assert question.answers[0] == Answer("Nile", 13) and question.answers[0].end == 17
    assert question.usual_answer == Answer("The Nile", 19)  # two of three say so
    assert not task.dev.has_unanswerable


def test_questions_without_an_answer(tmp_path):
    path = squad_file(tmp_path / "v2.json", ("Who", [("Zoë", 0)]), ("Why", []))
    data = json.loads(path.read_text())
    data["data"][0]["paragraphs"][0]["qas"].append(
        {
            "id": "When",
            "question": "When?",
            "is_impossible": True,
            "answers": [],
            "plausible_answers": [{"text": "long", "answer_start": 31}],
        }
    )
    path.write_text(json.dumps(data))
    split = SpanSplit(read_squad(path))
    assert split.has_unanswerable
    assert [question.usual_answer for question in split.questions] == [Answer("Zoë", 0), None, None]


def test_contexts_are_documents_once(tmp_path):
    path = squad_file(tmp_path / "a.json", ("Who", [("Zoë", 0)]), ("What", [("Nile", 13)]))
    split = SpanSplit(read_squad(path))
    assert split.documents() == [[CONTEXT]]
    assert [question.id for question in split.take(1).questions] in (["Who"], ["What"])
    assert split.take(1) == split.take(1) and len(split.take(9)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"a\.json is not JSON"),
        ("[]", r"not of SQuAD's form"),
        ('{"data": [{"paragraphs": [{"context": "x"}]}]}', r"\(no 'qas'\): data > paragraphs"),
        ('{"data": []}', r"a\.json has no questions"),
    ],
)
def test_files_of_another_form(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_squad(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"No file .*b\.json"):
        read_squad(tmp_path / "b.json")


@pytest.mark.parametrize("answer", [("Nile", 12), ("nile", 13), ("", 3), ("long.!", 31)])
def test_answer_that_is_elsewhere(tmp_path, answer):
    path = squad_file(tmp_path / "a.json", ("Who", [("Zoë", 0)]), ("What", [answer]))
    with pytest.raises(UserError, match=r"a\.json, question What: the answer .* does not begin"):
        read_squad(path)


def test_tensorflow_datasets(tmp_path, write_dataset):
    tfds = pytest.importorskip("tensorflow_datasets")
    text = tfds.features.Text
    features = {
        "id": np.str_,
        "title": text(),
        "context": text(),
        "question": text(),
        "answers": tfds.features.Sequence({"text": text(), "answer_start": np.int32}),
    }
    row = {"id": "7", "title": "T", "context": CONTEXT, "question": "Who?"}
    answers = {"text": ["Zoë", "Nile"], "answer_start": [0, 13]}
    none = {"text": [], "answer_start": []}
    rows = [row | {"answers": answers}, row | {"id": "8", "answers": none}]
    write_dataset(tmp_path, "squad/v1.1/3.0.0", features, {"train": rows, "validation": rows})
    task = tfds_squad_task("squad/v1.1", data_dir=tmp_path, download=False)
    by_id = {question.id: question for question in task.dev.questions}
    expected = (Answer("Zoë", 0), Answer("Nile", 13))
    assert by_id["7"] == Question("7", "Who?", CONTEXT, expected)
    assert by_id["8"].answers == ()


def test_made_up_questions():
    texts = ["one two three four five six seven eight", "too short"]
    task = made_up_task(texts, texts * 2)
    assert (len(task.train), len(task.dev)) == (1, 2)
    (question,) = task.train.questions
    assert question.text == "one two three ?"
    assert question.answers == (Answer("four five", 14),)
    for question in task.dev.questions:
        answer = question.usual_answer
        assert question.context[answer.start : answer.end] == answer.text
