import json
import shutil

import numpy as np
import pytest
from plain_reference import reference

from tf_prune_ofa.corpus import build
from tf_prune_ofa.corpus.reading import Records
from tf_prune_ofa.corpus.sentences import SentenceTokenizer
from tf_prune_ofa.corpus.sources import find_units
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import tf


def made(plan, files, folder, *, shards=1):
    units = find_units([str(file) for file in files])
    return build.build(plan, units, folder, shards=shards, runner=build.local(1))


def records_in(folder, split):
    """The records as TensorFlow reads them, checksums included."""
    files = sorted(str(path) for path in folder.glob(f"{split}-*.tfrecord"))
    found = []
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        values = {name: list(one.int64_list.value) for name, one in feature.items()}
        second, label = values.get("second_segment", [0]), values.get("next_sentence_label", [0])
        found.append((values["input_ids"], second[0], label[0]))
    return found


@pytest.mark.parametrize("form", ["pairs", "packed"])
def test_the_records_are_those_of_a_plain_reference(form, make_plan, texts, text_file, tmp_path):
    plan = make_plan(form=form, seed=3)
    manifest = made(plan, [text_file], tmp_path / "out", shards=3)
    options = {"form": form, "length": 24, "buckets": 8, "seed": 3, "short_rate": 0.1}
    wanted = reference(texts, plan.vocabulary, **options, dev_share=0.2, least=20)
    for split, rows in wanted.items():
        assert records_in(tmp_path / "out", split) == rows
        counts = manifest["counts"][split]
        assert counts["examples"] == len(rows) > 20
        assert counts["tokens"] == sum(len(ids) for ids, _, _ in rows)
        assert counts["random_next"] == sum(label for _, _, label in rows)
    assert manifest["counts"]["train"]["duplicates"] == 20 - sum(
        len(text) < 20 for text in texts[200:]
    )
    assert manifest["counts"]["train"]["too_short"] == sum(len(text) < 20 for text in texts)


def test_shards_and_the_order_of_sources_change_no_record(make_plan, texts, text_file, tmp_path):
    one = made(make_plan(), [text_file], tmp_path / "one")
    halves = [tmp_path / "a.txt", tmp_path / "b.txt"]
    halves[0].write_text("\n".join(texts[100:]))
    halves[1].write_text("\n".join(texts[:100]))
    for shards in (3, 8):
        folder = tmp_path / str(shards)
        manifest = made(make_plan(), halves, folder, shards=shards)
        assert len(list(folder.glob("train-*"))) == shards
        assert manifest["digest"] == one["digest"]
        assert manifest["counts"] == one["counts"]
        assert records_in(folder, "train") == records_in(tmp_path / "one", "train")


def test_another_seed_draws_other_pairs_of_the_same_documents(make_plan, text_file, tmp_path):
    folders = [tmp_path / "0", tmp_path / "1"]
    plans = [make_plan(seed=seed) for seed in (0, 1)]
    first, second = (made(p, [text_file], f) for p, f in zip(plans, folders, strict=True))
    assert first["digest"] != second["digest"]
    assert first["counts"]["dev"]["documents"] == second["counts"]["dev"]["documents"]


def test_a_killed_run_goes_on_with_what_is_done(make_plan, text_file, tmp_path, monkeypatch):
    plan, folder = make_plan(), tmp_path / "out"
    whole = made(plan, [text_file], tmp_path / "whole")
    done = []

    def killed_after_three(bucket, plan, workshop):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(bucket)
        write_part(bucket, plan, workshop)

    write_part = build.write_part
    monkeypatch.setattr(build, "write_part", killed_after_three)
    with pytest.raises(KeyboardInterrupt):
        made(plan, [text_file], folder)
    assert not (folder / "manifest.json").exists()
    with pytest.raises(UserError, match="the beginning of another corpus"):
        made(make_plan(seed=9), [text_file], folder)
    again = []
    monkeypatch.setattr(build, "write_piece", lambda *_: again.append("piece"))
    monkeypatch.setattr(
        build, "write_part", lambda b, *rest: (again.append(b), write_part(b, *rest))
    )
    assert made(plan, [text_file], folder)["digest"] == whole["digest"]
    assert again == [3, 4, 5, 6, 7]
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )


def test_what_was_begun_is_not_finished_with_text_cut_otherwise(
    make_plan, text_file, tmp_path, monkeypatch
):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build, "write_part", stopped)
        made(make_plan(), [text_file], tmp_path)
    monkeypatch.setattr("tf_prune_ofa.corpus.sources.UNIT_BYTES", 1000)
    with pytest.raises(UserError, match="the beginning of another corpus: pieces was 1"):
        made(make_plan(), [text_file], tmp_path)


def test_one_process_reads_all_units_with_one_tokenizer(
    make_plan, text_file, tmp_path, monkeypatch
):
    """Else each unit's words are looked up anew, which is most of the work."""
    monkeypatch.setattr("tf_prune_ofa.corpus.sources.UNIT_BYTES", 1000)
    made_ones = []

    class Counted(SentenceTokenizer):
        def __init__(self, tokenizer):
            made_ones.append(1)
            super().__init__(tokenizer)

    monkeypatch.setattr("tf_prune_ofa.corpus.bundles.SentenceTokenizer", Counted)
    made(make_plan(seed=77), [text_file], tmp_path)
    assert len(find_units([str(text_file)])) > 3 and made_ones == [1]


def test_a_whole_corpus_is_left_as_it_is(make_plan, text_file, tmp_path):
    manifest = made(make_plan(), [text_file], tmp_path)
    assert made(make_plan(), [text_file], tmp_path) == json.loads(json.dumps(manifest))
    with pytest.raises(UserError, match="other settings or sources"):
        made(make_plan(seed=1), [text_file], tmp_path)


def test_what_cannot_be_is_refused_before_work(make_plan, text_file, tmp_path):
    with pytest.raises(UserError, match="--shards is 9, and this corpus has 8 buckets"):
        made(make_plan(), [text_file], tmp_path / "out", shards=9)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("not yours")
    with pytest.raises(UserError, match="is not empty"):
        made(make_plan(), [text_file], tmp_path / "mine")
    with pytest.raises(UserError, match="no document has 9999 characters"):
        made(make_plan(min_characters=9999), [text_file], tmp_path / "none")
    assert not (tmp_path / "out").exists() and not (tmp_path / "none").exists()
    for wrong in ({"length": 4}, {"buckets": 0}, {"dev_share": 1.0}, {"form": "poem"}):
        with pytest.raises(UserError, match="choose"):
            make_plan(**wrong)


def test_processes_make_the_same(make_plan, text_file, tmp_path, monkeypatch):
    monkeypatch.setattr("tf_prune_ofa.corpus.sources.UNIT_BYTES", 2000)
    units = find_units([str(text_file)])
    one = build.build(make_plan(), units, tmp_path / "1", shards=1, runner=build.local(1))
    two = build.build(make_plan(), units, tmp_path / "2", shards=1, runner=build.local(2))
    assert one["digest"] == two["digest"]


def test_examples_are_read_from_anywhere_and_damage_is_found(make_plan, text_file, tmp_path):
    made(make_plan(), [text_file], tmp_path, shards=3)
    examples = Records(tmp_path).examples("train")
    rows = records_in(tmp_path, "train")
    order = np.random.default_rng(0).permutation(len(rows))
    taken = examples.take(order)
    assert [one.tolist() for one in taken.ids] == [rows[i][0] for i in order]
    assert taken.nsp_labels.tolist() == [rows[i][2] for i in order]
    assert [int(np.argmax(one)) for one in taken.type_ids] == [rows[i][1] for i in order]
    assert examples.lengths.tolist() == [len(ids) for ids, _, _ in rows]

    path = tmp_path / "train-00001-of-00003.tfrecord"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="train-00001-of-00003.tfrecord is damaged in the record"):
        Records(tmp_path).examples("train").take(order)
    path.write_bytes(data[:-1])
    with pytest.raises(UserError, match="has .* bytes, the manifest says"):
        Records(tmp_path)
    shutil.rmtree(tmp_path / "unfinished", ignore_errors=True)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(UserError, match="has no manifest.json"):
        Records(tmp_path)
