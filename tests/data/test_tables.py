import json

import numpy as np
import pytest

from tf_prune_ofa.data.doubts import doubts
from tf_prune_ofa.data.tables import table_task
from tf_prune_ofa.errors import UserError

TSV = 'id\tsentence\tlabel\n1\tA "fine" film\tpos\n2\t"Bad, bad\tneg\n'


@pytest.fixture
def files(tmp_path):
    """Writes a train and a dev file and reads them as a task."""

    def read(content, ending=".tsv", encoding="utf-8", **settings):
        for name in ("train", "dev"):
            data = content if isinstance(content, bytes) else content.encode(encoding)
            (tmp_path / (name + ending)).write_bytes(data)
        defaults = {"text_a": "sentence", "labels": ("neg", "pos")}
        return table_task(
            "own",
            train=tmp_path / f"train{ending}",
            dev=tmp_path / f"dev{ending}",
            **{**defaults, **settings},
        )

    return read


def test_tsv_takes_quotes_as_they_are(files):
    task = files(TSV)
    assert (task.name, task.labels) == ("own", ("neg", "pos"))
    for split in (task.train, task.dev):
        assert split.text_a == ['A "fine" film', '"Bad, bad']
        assert split.text_b is None
        assert split.label.tolist() == [1, 0]


def test_tsv_with_byte_order_mark_windows_line_ends_and_blank_lines(files):
    task = files(
        TSV.replace("id\t", "").replace("1\t", "").replace("2\t", "").replace("\n", "\r\n\r\n"),
        encoding="utf-8-sig",
    )
    assert task.train.text_a == ['A "fine" film', '"Bad, bad']


def test_only_real_line_ends_end_a_line(files):
    task = files("sentence\tlabel\nnext\x85line\u2028and\x0b\x1cmore\tpos\n")
    assert task.train.text_a == ["next\x85line\u2028and\x0b\x1cmore"]


def test_pairs_and_scores_from_csv(files):
    content = 'score,b,a\n2.5,"two, ""2""","one\nline"\n0,four,three\n'
    task = files(content, ".csv", text_a="a", text_b="b", label="score", labels=())
    assert task.kind == "regression"
    assert task.train.text_a == ["one\nline", "three"]
    assert task.train.text_b == ['two, "2"', "four"]
    assert task.train.label.tolist() == [2.5, 0.0]
    assert task.train.label.dtype == np.float32


def test_file_without_header_line(files):
    task = files(
        "one,two,3\nfour,five,6\n",
        ".csv",
        header=False,
        text_a="1",
        text_b="2",
        label="3",
        labels=(),
    )
    assert (task.train.text_a, task.train.text_b) == (["one", "four"], ["two", "five"])
    assert task.train.label.tolist() == [3, 6]


def test_labels_that_are_written_otherwise(files):
    task = files("sentence\tlabel\ngood\t1\nbad\t0\n", label_values=("0", "1"))
    assert task.labels == ("neg", "pos")
    assert task.train.label.tolist() == [1, 0]
    with pytest.raises(UserError, match="2 labels but 1 label_values"):
        files(TSV, label_values=("0",))


def test_further_files_to_judge_by(files, tmp_path):
    (tmp_path / "other.tsv").write_text("sentence\tlabel\nelse\tpos\n")
    task = files(TSV, more_dev={"other": tmp_path / "other.tsv"})
    assert task.more_dev["other"].text_a == ["else"]


def test_jsonl(files):
    rows = [{"sentence": "tab\tline\n", "label": 1}, {"label": "0", "sentence": 7, "more": None}]
    content = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    task = files(content, ".jsonl", labels=("0", "1"))
    assert task.train.text_a == ["tab\tline\n", "7"]
    assert task.train.label.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "ending", "settings", "message"),
    [
        (TSV, ".tsv", {"text_a": "sentense"}, r"no column 'sentense'; the nearest is 'sentence'\. "
         "Its columns are 'id', 'sentence', 'label'"),
        (TSV, ".tsv", {"text_a": "2"}, r"no column '2'.*set task\.header to false"),
        (TSV, ".tsv", {"header": False, "text_a": "4", "label": "3"}, r"Its columns are '1', '2'"),
        (TSV.replace("neg", "bad"), ".tsv", {}, r"train\.tsv, line 3: the label 'bad' is not one"),
        ("sentence\tlabel\n", ".tsv", {}, "has no examples"),
        ("", ".tsv", {}, "is empty"),
        ("", ".csv", {}, "is empty"),
        ("", ".jsonl", {}, "has no examples"),
        ("sentence\tlabel\na\tb\tpos\n", ".tsv", {}, r"line 2: 3 fields, but there are 2 columns"),
        ("sentence\tlabel\nonly text\n", ".tsv", {}, r"line 2: 1 fields"),
        ('sentence,label\n"open,pos\n', ".csv", {}, r"line 2: not CSV"),
        ("sentence\tlabel\nok\tpos\ncaf\u00e9\tpos\n".encode("latin1"), ".tsv", {},
         r"line 3: byte 0xe9 is not UTF-8"),
        (TSV.encode("utf-16")[:-1], ".tsv", {}, r"mark of UTF-16, but is none at byte"),
        (TSV.encode("utf-16-le"), ".tsv", {}, r"like UTF-16 without a byte order mark"),
        ("text;label\na;pos\n", ".csv", {}, r"seem to be parted by semicolons"),
        ("sentence,label\na,pos\n", ".tsv", {}, r"seem to be parted by commas"),
        ('sentence\tlabel\n"two\nlines"\tpos\n', ".tsv", {}, r"line 2.*no quotes around texts"),
        ("sentence\tx\tsentence\tlabel\na\tb\tc\tpos\n", ".tsv", {},
         r"has 2 columns called 'sentence', at 1, 3, and one"),
        # Two encodings in one file, as when lines of several sources are put together.
        ("sentence\tlabel\ncafé\tpos\n".encode() + "café\tpos\n".encode("latin1"), ".tsv", {},
         r"line 3: byte 0xe9 is not UTF-8.*iconv"),
        ("sentence\tlabel\nok\tpos\ntext\t\n", ".tsv", {}, r"line 3: no label\. Every example"),
        ("sentence\tlabel\n0\t0\n1\t1\n2\t2\n", ".tsv", {"labels": ("0", "1")},
         r"line 4: the label '2' is not one of '0', '1'"),
        ('{"sentence": "x"}\n', ".jsonl", {}, r"line 1: no field 'label'"),
        ('{"sentence": "x", "label": null}\n', ".jsonl", {}, r"line 1: 'label' is null"),
        ('{"sentence": "x", "label": "pos"\n', ".jsonl", {}, r"line 1: not JSON"),
        ("[" * 100_000 + "\n", ".jsonl", {}, r"line 1: not JSON \(too many levels"),
        ('{"sentence": "x", "sentence": "y", "label": "pos"}\n', ".jsonl", {}, r"is there twice"),
        ('{"sentence": NaN, "label": "pos"}\n', ".jsonl", {}, r"line 1: 'sentence' is NaN, not a"),
        ('{"sentence": "cut \\ud83d", "label": "pos"}\n', ".jsonl", {}, r"line 1: 'sentence' is"),
        ("sentence\tlabel\na\t1e39\n", ".tsv", {"labels": ()}, r"'1e39' is not a finite number"),
        (TSV, ".tsv", {"skip_labels": ("pos", "neg")}, "has no examples"),
        ("[1]\n", ".jsonl", {}, r"line 1: list in place of an object"),
        (TSV, ".txt", {}, r"ends in '\.txt'"),
        (TSV, ".tsv", {"labels": ()}, r"line 2: the score 'pos' is not a finite number"),
        (TSV, ".tsv", {"labels": ("pos",)}, "one label"),
    ],
)  # fmt: skip
def test_bad_files(files, content, ending, settings, message):
    with pytest.raises(UserError, match=message):
        files(content, ending, **settings)


def test_missing_file_and_folder(tmp_path):
    settings = {"text_a": "a", "labels": ("x", "y"), "dev": tmp_path / "dev.tsv"}
    with pytest.raises(UserError, match=r"No file .*train\.tsv"):
        table_task("own", train=tmp_path / "train.tsv", **settings)
    with pytest.raises(UserError, match="is a folder"):
        table_task("own", train=tmp_path, **settings)


@pytest.mark.parametrize("ending", [".tsv", ".csv", ".jsonl"])
def test_a_hundred_megabytes_on_one_line(tmp_path, ending):
    path = tmp_path / f"train{ending}"
    path.write_bytes(b"sentence\tlabel\n" + b"word " * 20_000_000)
    settings = {"dev": path, "text_a": "sentence", "labels": ("x", "y")}
    with pytest.raises(UserError, match="line 2: 100 MB on one line; at most 10 MB are read") as e:
        table_task("own", train=path, **settings)
    assert len(str(e.value)) < 500


def test_messages_do_not_repeat_a_long_text(files):
    for content in ("x" * 10_000 + "\tb\n1\t2\n", f"sentence\tlabel\na\t{'y' * 10_000}\n"):
        with pytest.raises(UserError) as error:
            files(content)
        assert len(str(error.value)) < 1_000
    wide = "\t".join(f"column {i}" for i in range(200_000))
    for content in (wide + "\n", f"sentence\tlabel\n{wide}\n", wide + "\na\n"):
        with pytest.raises(UserError) as error:
            files(content)
        assert len(str(error.value)) < 2_000
    row = json.dumps({f"column {i}": 1 for i in range(200_000)})
    with pytest.raises(UserError, match="no field 'sentence'") as error:
        files(row, ".jsonl")
    assert len(str(error.value)) < 2_000


def test_a_document_in_a_field_is_read(files):
    """csv has a limit of its own, 131,072 characters, and calls what is longer no CSV."""
    text = "good " * 40_000
    task = files(f'sentence,label\n"{text}",pos\n', ".csv")
    assert task.train.text_a == [text]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_says_the_encoding(files, encoding):
    content = "sentence\tlabel\r\ncaf\u00e9 \u4e2d\tpos\r\n"
    task = files(content, encoding=encoding)
    assert task.train.text_a == ["caf\u00e9 \u4e2d"]
    assert task.train.label.tolist() == [1]


def test_rows_of_a_label_are_left_out_and_counted(files, capsys):
    content = "sentence\tlabel\na\tneg\nb\t-\nc\tpos\nd\t-\n"
    with pytest.raises(UserError, match="the label '-' is not one of.*task.skip_labels"):
        files(content)
    task = files(content, skip_labels=("-", "?"))
    assert task.train.text_a == ["a", "c"] and task.train.label.tolist() == [0, 1]
    assert "train.tsv: 2 of 4 rows have a label of task.skip_labels" in capsys.readouterr().out


def test_what_is_odd_about_labels(files):
    assert doubts(files(TSV)) == []
    one = doubts(files("sentence\tlabel\na\tpos\nb\tpos\n"))
    assert one == [
        "all 2 examples to learn from have the label 'pos'",
        "all 2 examples to judge by have the label 'pos'",
    ]
    assert doubts(files(TSV, labels=("neg", "pos", "none"))) == [
        "no example to learn from has the label 'none'"
    ]
    same = doubts(files("sentence\tlabel\na\t2\nb\t2\n", labels=()))
    assert same[0] == "all 2 examples to learn from have the label 2"


def test_what_is_odd_about_texts(files):
    rows = ["a", " ", "\u200b", '"he said ""no"""', 'he said "no"', '"no"', '""']
    lines = [f"{text}\t{label}" for text in rows for label in ("neg", "pos")]
    found = doubts(files("\n".join(["sentence\tlabel", *lines]) + "\n"))
    assert [one.split(" have ")[0] for one in found] == [
        "4 of 14 examples to learn from",
        "2 of 14 examples to learn from",
        "4 of 14 examples to judge by",
        "2 of 14 examples to judge by",
    ]
    assert "without a visible character" in found[0] and "as a .csv has them" in found[1]
