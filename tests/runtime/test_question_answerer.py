import pytest
import text_files

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.question_answerer import QuestionAnswerer
from tf_prune_ofa.tflite.text_settings import TextSettings

TEXT = "The film is good. A film by Ann in  May."


@pytest.fixture
def open_file(tmp_path):
    def opened(**settings):
        path = tmp_path / "model.tflite"
        path.write_bytes(text_files.span(**settings))
        return QuestionAnswerer(path)

    return opened


def test_the_answer_is_a_part_of_the_text(open_file):
    ask = open_file(settings=TextSettings(question_length=4, stride=5))
    found = ask("Who wrote it?", TEXT)
    assert (found.text, found.score) == ("Ann in  May", 10)
    assert TEXT[found.start : found.end] == found.text
    assert found.candidates[0].text == found.text
    # In windows of nine tokens of context, five apart, only one shows all of the answer.
    assert [one.text for one in ask(["who?", "wrote?"], TEXT)] == ["Ann in  May"] * 2


def test_questions_and_texts_in_pairs(open_file):
    ask = open_file()
    assert [a.text for a in ask(["who", "who"], ["Ann May", "by Ann, in May"])] == [
        "Ann May",
        "Ann, in May",
    ]
    with pytest.raises(UserError, match="2 questions but 1 texts"):
        ask(["who", "who"], [TEXT])


def test_no_answer(open_file):
    ask = open_file(settings=TextSettings(no_answer_above=0.0))
    found = ask("who", "the film is good")
    assert (found.text, found.start, found.end) == ("", -1, -1)
    assert found.null_difference > 0 and found.candidates
    assert ask("who", "Ann, in May").text == "Ann, in May"
    # Where every question has an answer, the best one is given.
    assert open_file()("who", "the film is good").text == "good"
    assert open_file()("who", "").text == ""


def test_answers_of_at_most_so_many_tokens(open_file):
    ask = open_file(settings=TextSettings(answer_length=2))
    assert len(ask("who", TEXT).text.split()) <= 2


def test_room_for_the_text_behind_a_long_question(open_file):
    ask = open_file(settings=TextSettings(question_length=64))
    assert ask.settings.question_length == 6
    assert ask("who " * 30, TEXT).text == "Ann in  May"


def test_a_classifier_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(text_files.classifier())
    with pytest.raises(UserError, match="it gives logits, not start_logits, end_logits"):
        QuestionAnswerer(path)
