import json
from dataclasses import replace

import pytest

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.data import tasks
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.recipe import load_recipe


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabel\nlearn\tx\n")
    (tmp_path / "dev.tsv").write_text("text\tlabel\njudge\ty\n")
    return TaskSettings(
        source="files",
        train=str(tmp_path / "train.tsv"),
        dev=str(tmp_path / "dev.tsv"),
        labels=("x", "y"),
    )


def test_own_files(settings):
    task = tasks.load_task(settings)
    assert (task.train.text_a, task.dev.text_a) == (["learn"], ["judge"])
    assert task.dev.label.tolist() == [1]
    assert [str(path) for path in tasks.task_files(settings)] == [settings.train, settings.dev]


def test_unlabelled_text_is_of_one_side(settings):
    assert tasks.load_unlabelled_text(settings) == [["learn"]]
    assert tasks.load_unlabelled_text(settings, side="dev") == [["judge"]]


def test_reviews(review_corpus):
    settings = TaskSettings(source="reviews")
    task = tasks.load_task(settings, path=review_corpus, held_out=0.3)
    text = tasks.load_unlabelled_text(settings, path=review_corpus, held_out=0.3)
    assert len(task.dev) > 3000
    assert not {passage for document in text for passage in document} & set(task.dev.text_a)


def test_tfds_gets_the_name_behind_the_colon():
    with pytest.raises(UserError, match="cannot give 'no_such_dataset_at_all'"):
        tasks.load_task(TaskSettings(source="tfds:no_such_dataset_at_all"), download=False)


def test_own_metrics_come_before_the_task_s(glue_folder):
    folder = glue_folder("mrpc")
    official = TaskSettings(source="glue/mrpc", folder=str(folder))
    assert tasks.load_task(official).metrics == ("f1", "accuracy")
    asked = TaskSettings(source="glue/mrpc", folder=str(folder), metrics=("matthews",))
    assert tasks.load_task(asked).metrics == ("matthews",)


def test_tfds_names_of_glue_are_those_of_glue(glue_folder):
    by_tfds_name = TaskSettings(source="tfds:glue/mrpc", folder=str(glue_folder("mrpc")))
    assert tasks.load_task(by_tfds_name).metrics == ("f1", "accuracy")
    own_columns = TaskSettings(source="tfds:glue/mrpc", text_a="sentense1")
    with pytest.raises(UserError, match="cannot give 'glue/mrpc'"):
        tasks.load_task(own_columns, download=False)


def test_unknown_source():
    with pytest.raises(
        UserError,
        match=r"'review'.*it is one of 'reviews', 'files', .*'conll', .*a task of GLUE",
    ):
        tasks.load_task(TaskSettings(source="review"))
    with pytest.raises(UserError, match="GLUE has no task 'sts-b'; the nearest is 'stsb'"):
        tasks.load_task(TaskSettings(source="glue/sts-b"))


def test_settings_that_a_source_has_no_use_for():
    # Forgotten to say "files": the reviews would be learnt, without a word.
    for source in ("reviews", "glue/sst2", "tfds:imdb_reviews"):
        with pytest.raises(UserError, match=r"train would be ignored.*source to 'files'"):
            tasks.load_task(TaskSettings(source=source, train="a.tsv"))
    with pytest.raises(UserError, match=r"reviews knows its own .*: leave out task\.labels"):
        tasks.load_task(TaskSettings(source="reviews", labels=("x", "y")))
    with pytest.raises(UserError, match=r"leave out task\.text_a, task\.labels"):
        tasks.load_task(TaskSettings(source="glue/sst2", text_a="a", labels=("x", "y")))
    with pytest.raises(UserError, match=r"task\.folder is for the GLUE tasks.*not for 'files'"):
        tasks.load_task(TaskSettings(source="files", folder="glue"))
    with pytest.raises(UserError, match=r"name the files with task\.train and task\.dev"):
        tasks.load_task(TaskSettings(source="files", train="a.tsv"))


def test_squad_from_files_and_made_up(tmp_path, review_corpus):
    paragraph = {
        "context": "It rains.",
        "qas": [{"id": "1", "question": "?", "answers": [{"text": "rains", "answer_start": 3}]}],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    settings = TaskSettings(source="squad", train=str(path), dev=str(path))
    assert tasks.load_task(settings).dev.questions[0].usual_answer.text == "rains"
    assert tasks.load_unlabelled_text(settings) == [["It rains."]]
    with pytest.raises(UserError, match=r"leave out task\.text_a"):
        tasks.load_task(replace(settings, text_a="question"))
    with pytest.raises(UserError, match="cannot give 'squad/v3.0'"):
        tasks.load_task(TaskSettings(source="tfds:squad/v3.0"), download=False)
    made_up = tasks.load_task(TaskSettings(source="made_up_questions"), path=review_corpus)
    assert len(made_up.dev) > 500


def test_tiny_recipes_of_squad_need_no_download():
    tiny = load_recipe("prune_ofa_minilm_squad_90", tiny=True).task
    assert tiny.source == "made_up_questions"
    assert tiny.max_length > tiny.question_length + tiny.stride
    assert load_recipe("prune_ofa_minilm_squad_90").task.source == "tfds:squad/v1.1"
