import sys

import pytest

from tf_prune_ofa.corpus import build
from tf_prune_ofa.corpus.beam_run import beam
from tf_prune_ofa.corpus.sources import find_units
from tf_prune_ofa.errors import UserError


def test_without_beam_one_message(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(
        UserError, match=r"Beam is not installed.*pip install 'tf_prune_ofa\[corpus\]'"
    ):
        beam(["--runner=DirectRunner"])


def test_beam_makes_the_same_records_and_goes_on(make_plan, text_file, tmp_path):
    pytest.importorskip("apache_beam", reason="is in the extra [corpus]")
    units = find_units([str(text_file)])
    plain = build.build(make_plan(), units, tmp_path / "plain", shards=1, runner=build.local(1))
    asked = []

    def half(plan, units, workshop):
        build.write_piece(0, units, plan, workshop)
        for bucket in range(4):
            build.write_part(bucket, plan, workshop)
        raise KeyboardInterrupt

    def rest(plan, units, workshop):
        asked.extend(bucket for bucket in range(8) if not workshop.has_part(bucket))
        beam(["--runner=DirectRunner"])(plan, units, workshop)

    with pytest.raises(KeyboardInterrupt):
        build.build(make_plan(), units, tmp_path / "beam", shards=2, runner=half)
    by_beam = build.build(make_plan(), units, tmp_path / "beam", shards=2, runner=rest)
    assert asked == [4, 5, 6, 7]
    assert by_beam["digest"] == plain["digest"] and by_beam["counts"] == plain["counts"]


def test_what_a_worker_finds_wrong_is_one_message(make_plan, tmp_path):
    pytest.importorskip("apache_beam", reason="is in the extra [corpus]")
    bad = tmp_path / "a.jsonl"
    bad.write_text('{"body": "b"}\n')
    runner = beam(["--runner=DirectRunner"])
    with pytest.raises(UserError, match=r"a\.jsonl has a row without text in 'text'") as caught:
        build.build(make_plan(), find_units([str(bad)]), tmp_path / "o", shards=1, runner=runner)
    assert "\n" not in str(caught.value)
