import json

import numpy as np
import pytest

from tf_prune_ofa.data.doubts import doubts
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
        ("[]", r"a\.json has no questions"),
        ("3", r"a\.json holds int\. SQuAD's form is data > paragraphs"),
        ("[1]", r"entry 1 is int, not an object"),
        ("{}", r"a\.json: no 'data'"),
        ('{"data": {}}', r"'data' is \{\}\. SQuAD's form"),
        ('{"data": [{"paragraphs": [{"context": "x"}]}]}', r"paragraph 1: no 'qas', got only 'co"),
        ('{"data": [{"paragraphs": [{"qas": [{"id": 1}]}]}]}', r"paragraph 1: no 'context'"),
        ("[" * 100_000, r"a\.json is not JSON \(too many levels"),
        ('{"data": [], "data": []}', r"the name 'data' is there twice"),
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


# What annotation tools write


def read(tmp_path, content, name="a.json"):
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_squad(tmp_path / name)


def paragraph(**changes):
    """One paragraph with one question, and fields of that changed; one of ... is left out."""
    answers = [{"text": "Nile", "answer_start": 13}]
    entry = {"id": "7", "question": "Who?", "answers": answers} | changes
    entry = {key: value for key, value in entry.items() if value is not ...}
    return [{"context": CONTEXT, "qas": [entry]}]


def answered(text, start):
    return paragraph(answers=[{"text": text, "answer_start": start}])


@pytest.mark.parametrize("start", [13, 13.0, "13", " 13 "])
def test_positions_of_one_meaning_are_read(tmp_path, start):
    (question,) = read(tmp_path, answered("Nile", start))
    assert question.answers == (Answer("Nile", 13),) and type(question.answers[0].start) is int


@pytest.mark.parametrize("start", [None, "", "x", 13.5, True, [13], "-1", "9" * 5000])
def test_positions_of_no_meaning_are_refused(tmp_path, start):
    message = r"a\.json, question 7: 'answer_start' is .*, not a number of characters"
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, answered("Nile", start))
    assert len(str(error.value)) < 500


def test_numbers_are_texts(tmp_path):
    content = [{"context": "In 1854.", "qas": [
        {"id": 9, "question": 1854, "answers": [{"text": 1854, "answer_start": 3}]}
    ]}]  # fmt: skip
    (question,) = read(tmp_path, content)
    assert question == Question("9", "1854", "In 1854.", (Answer("1854", 3),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (paragraph(question=None), "question 7: 'question' is null, not a text"),
        (paragraph(question=["a"]), "question 7: 'question' is \\['a'\\]"),
        (paragraph(question=...), "qas 1: no 'id'|question 7: no 'question'"),
        (paragraph(id=None), "qas 1: 'id' is null"),
        (paragraph(id=...), "entry 1, qas 1: no 'id', got only 'question', 'answers'"),
        (paragraph(answers=None), "question 7: 'answers' is null. Give a list"),
        (paragraph(answers=...), "question 7: no 'answers'"),
        (paragraph(answers=[13]), "question 7: no 'text', got 13"),
        (paragraph(answers=[{"text": "Nile"}]), "question 7: no 'answer_start', got only 'text'"),
        (paragraph(answers={"text": ["a"], "answer_start": []}), "have 1 of 'text' and 0 of"),
        (answered(None, 3), "question 7: 'text' is null"),
        (answered("Nile\ud800", 13), "question 7: 'text' is"),
        (paragraph(is_impossible="no"), "question 7: 'is_impossible' is 'no'; write true or"),
        ([paragraph()[0] | {"context": None}], "question 7: 'context' is null"),
        (answered("Nile", 14), r"from 0; it seems to count bytes\)"),
    ],
)  # fmt: skip
def test_fields_without_a_meaning_are_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, content)


def test_positions_in_units_of_utf_16_are_told(tmp_path):
    content = [{"context": "\U0001f44d fine", "qas": paragraph()[0]["qas"]}]
    content[0]["qas"][0]["answers"] = [{"text": "fine", "answer_start": 3}]
    with pytest.raises(UserError, match="it seems to count UTF-16 code units"):
        read(tmp_path, content)


def test_rows_of_datasets(tmp_path):
    """A list of objects, the same on a line each, and answers as columns."""
    rows = [
        {"id": name, "title": "T", "context": CONTEXT, "question": "Who?",
         "answers": {"text": texts, "answer_start": starts}}
        for name, texts, starts in (("1", ["Nile"], [13]), ("2", [], []))
    ]  # fmt: skip
    lines = "\n".join(json.dumps(row) for row in rows) + "\n"
    expected = [
        Question("1", "Who?", CONTEXT, (Answer("Nile", 13),)),
        Question("2", "Who?", CONTEXT, ()),
    ]
    assert read(tmp_path, rows) == expected
    assert read(tmp_path, lines, "a.jsonl") == expected
    assert read(tmp_path, lines, "b.json") == expected
    assert read(tmp_path, json.dumps(rows, indent=1)) == expected
    assert read(tmp_path, json.dumps(rows[0]), "c.jsonl") == expected[:1]
    with pytest.raises(UserError, match=r"d\.jsonl, line 2: not JSON"):
        read(tmp_path, lines[:-5], "d.jsonl")


def test_what_is_odd_about_questions(tmp_path):
    path = squad_file(tmp_path / "a.json", ("q", [("Nile", 13)]), ("r", []))
    assert doubts(squad_task(path, path)) == []
    empty = squad_file(tmp_path / "b.json", ("q", []), context=" ")
    (found,) = doubts(squad_task(path, empty))
    assert found == "1 of 1 examples to judge by have a text without a visible character"
