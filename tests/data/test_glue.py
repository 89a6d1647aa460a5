import pytest

from tf_prune_ofa.config import TaskSettings
from tf_prune_ofa.data.glue import GLUE_TASKS, glue_files, glue_task
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tasks import kind_of

# The first row of each fixture file: texts and the label's position.
FIRST = {
    "cola": ("Sue slept .", None, 1),
    "sst2": ("a fine film ", None, 1),
    "mrpc": ('He said " so .', '" So , he said .', 1),
    "stsb": ("A man plays .", "A man is playing .", 4.5),
    "qqp": ("Why ?", "What for ?", 1),
    "mnli": ("A man sleeps .", "Nobody sleeps .", 2),
    "qnli": ("When ?", "In May .", 0),
    "rte": ("It rained .", "It was dry .", 1),
    "wnli": ("He saw it .", "He saw the dog .", 1),
}


@pytest.mark.parametrize("name", GLUE_TASKS)
def test_tsv_folder(name, glue_folder):
    task = glue_task(name, folder=glue_folder(name))
    text_a, text_b, label = FIRST[name]
    for split in (task.train, task.dev):
        assert split.text_a[0] == text_a
        assert (split.text_b and split.text_b[0]) == text_b
        assert split.label[0] == label
        assert len(split) == 2
    assert task.name == f"glue/{name}"
    assert (task.kind == "regression") == (name == "stsb")
    # The official metrics are ones that such a task can have.
    assert kind_of(task, TaskSettings()).metrics == GLUE_TASKS[name].metrics


def test_mnli_has_two_splits_to_judge_by(glue_folder):
    folder = glue_folder("mnli")
    mismatched = folder / "dev_mismatched.tsv"
    mismatched.write_text(mismatched.read_text().replace("A man sleeps", "A woman sleeps"))
    task = glue_task("mnli", folder=folder)
    assert task.dev.text_a[0] == "A man sleeps ."
    assert list(task.more_dev) == ["mismatched"]
    assert task.more_dev["mismatched"].text_a[0] == "A woman sleeps ."
    assert [path.name for path in glue_files("mnli", folder)] == [
        "train.tsv",
        "dev_matched.tsv",
        "dev_mismatched.tsv",
    ]


def test_rows_of_qqp_that_were_broken_in_two_are_left_out(glue_folder, capsys):
    folder = glue_folder("qqp")
    with (folder / "train.tsv").open("a") as file:
        file.write("7\t8\t9\tHow do\nI do it ?\tHow ?\t1\n")
    assert len(glue_task("qqp", folder=folder).train) == 2
    assert "train.tsv: 2 rows lack columns and are left out" in capsys.readouterr().out


def test_scores_out_of_range(glue_folder):
    folder = glue_folder("stsb")
    dev = folder / "dev.tsv"
    dev.write_text(dev.read_text().replace("4.5", "45"))
    with pytest.raises(UserError, match=r"dev\.tsv, line 2: the score 4500 is outside of 0 to 5\."):
        glue_task("stsb", folder=folder)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"No file .*train\.tsv"):
        glue_task("rte", folder=tmp_path)


@pytest.mark.parametrize("name", GLUE_TASKS)
def test_columns_and_labels_are_those_of_tensorflow_datasets(name, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.builder(f"glue/{name}", data_dir=tmp_path).info.features
    task = GLUE_TASKS[name]
    assert set(features) - {"label", "idx"} == {task.text_a, task.text_b} - {""}
    assert tuple(getattr(features["label"], "names", ())) == task.labels
