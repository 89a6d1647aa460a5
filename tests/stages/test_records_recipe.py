"""Masked words learned from records on disk."""

import json

import pytest
from small_runs import VOCABULARY, BeforeStep, only, recipe, run, run_well, stage_folder, start

from tf_prune_ofa.corpus import build
from tf_prune_ofa.corpus.plan import Plan
from tf_prune_ofa.corpus.sources import find_units

WORD_PIECES = {"lower_case": True, "strip_accents": None, "split_chinese": True}


def make_records(inputs, folder, **changes):
    """Records of the small task's sentences, a few of them to a document."""
    rows = (inputs / "train.tsv").read_text().splitlines()[1:]
    sentences = [row.split("\t")[0].capitalize() for row in rows]
    text = folder.parent / f"{folder.name}.txt"
    text.write_text("\n".join(" ".join(sentences[i : i + 3]) for i in range(len(sentences) - 2)))
    settings = {
        "form": "pairs",
        "length": 14,
        "vocabulary": str(inputs / "encoder" / "vocab.txt"),
        "tokenizer": json.dumps(WORD_PIECES),
        "buckets": 4,
        "dev_share": 0.2,
        "min_characters": 5,
    }
    plan = Plan(**{**settings, **changes})
    units = find_units([str(text)])
    return build.build(plan, units, folder, shards=2, runner=build.local(1))


@pytest.fixture(scope="module")
def data(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "corpus"
    make_records(inputs, folder)
    corpus = {"records": str(folder), "whole_words": True}
    return recipe(inputs, corpus=corpus, teacher={"nsp": True}, **only("teacher"))


def test_a_killed_run_goes_on_with_the_records_that_it_had_not_seen(data, tmp_path):
    whole = run_well(data, tmp_path / "whole")["teacher"]["figures"]
    assert whole["train_examples"] > 100 and whole["steps"] == 30
    killed = start(data, tmp_path / "killed", kill_at=BeforeStep("teacher", 13))
    assert killed.was_killed()
    assert run_well(data, tmp_path / "killed")["teacher"]["figures"] == whole
    weights = [
        (stage_folder(tmp_path / name, "teacher") / "model" / "model.safetensors").read_bytes()
        for name in ("whole", "killed")
    ]
    assert weights[0] == weights[1]


def test_records_that_do_not_fit_are_refused_before_work(data, inputs, tmp_path):
    def refusal(**corpus):
        changed = {**data, "corpus": {**data["corpus"], **corpus}}
        code, output = run(changed, tmp_path / "run")
        assert code == 1 and "running in" not in output
        return output

    both = refusal(files=["reviews"])
    assert "corpus.files is" in both and "corpus.records names one" in both and "Leave it" in both
    assert "corpus.length is 9" in refusal(length=9)
    make_records(inputs, tmp_path / "packed", form="packed")
    assert "nsp needs pairs of segments" in refusal(records=str(tmp_path / "packed"))
    other = tmp_path / "vocab.txt"
    other.write_text("\n".join([*VOCABULARY, "zebra"]) + "\n")
    make_records(inputs, tmp_path / "other", vocabulary=str(other))
    assert "has ids of another vocabulary" in refusal(records=str(tmp_path / "other"))
    make_records(inputs, tmp_path / "cased", tokenizer='{"lower_case": false}')
    assert "was tokenized with" in refusal(records=str(tmp_path / "cased"))
    make_records(inputs, tmp_path / "short", dev_share=0.0)
    assert "holds out no document" in refusal(records=str(tmp_path / "short"))
