"""Damaged files through everything that reads files: no crash, hang or traceback of ours.

A runtime may crash on what no check of a file can see; the tools contain that.
"""

import numpy as np
import pytest
from mutant_readers import FINE, OURS, REFUSED, RUNTIMES, TRACEBACK, outcomes, tables
from mutants import bases, mutant

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.inspect import inspect, load


def check(count, folder, seed):
    results = outcomes(count, folder, seed)
    assert [number for number, _, reader, *_ in results if reader == "inspect"] == [*range(count)]
    findings = [f for f in results if f[3] not in (FINE, REFUSED)]
    ours = [f for f in findings if f[2] in OURS or f[3] == TRACEBACK]
    assert not ours
    # With the delegate a file may not fare worse than without.
    plain = {number for number, _, reader, *_ in findings if reader == "interpreter"}
    worse = [f for f in findings if f[2] == "delegate" and f[0] not in plain]
    crashed = {number for number, _, reader, *_ in findings if reader in RUNTIMES}
    return results, worse, crashed


def test_a_few(tmp_path):
    _, worse, _ = check(40, tmp_path, seed=1)
    assert not worse


@pytest.mark.slow
def test_two_thousand(tmp_path):
    results, worse, crashed = check(2000, tmp_path, seed=2)
    print("\n".join(tables(results)))
    assert not worse
    for number in crashed:
        summary = inspect(tmp_path / f"{number}.tflite")
        with pytest.raises(UserError, match="crashed with signal|did not finish|cannot load"):
            load(summary)


def test_mutants_are_many_kinds():
    rng = np.random.default_rng(0)
    files = bases()
    kinds = {kind for i in range(400) for kind in mutant(files[i % 5], rng)[1].split("+")}
    assert len(kinds) > 40
