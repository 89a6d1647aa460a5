"""Damaged files given to everything that reads files, each time in a process of its own.

Run it for a table of what becomes of many:

    python tests/mutant_readers.py [--count=2000] [--seed=2]
"""

import argparse
import faulthandler
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import block_files
import numpy as np
from mutants import bases, mutant

from tf_prune_ofa.bench.inputs import make_inputs
from tf_prune_ofa.blocks.live import Block
from tf_prune_ofa.blocks.rewrite import block_sparse
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import delegate
from tf_prune_ofa.runtime.inspect import inspect
from tf_prune_ofa.runtime.inspect_text import describe
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.runtime.ports import plain_name
from tf_prune_ofa.tflite import flatbuffer, guard

FINE, REFUSED, TRACEBACK, HANG = "fine", "refused", "traceback", "hang"


def read_text(path):
    describe(inspect(path))


def find_problems(path):
    guard.find_problems(path.read_bytes())


def rewrite(path):
    content = path.read_bytes()
    for block in (None, Block(4, 4)):
        after, _ = block_sparse(content, block, block_files.FREE, compact=block is None)
        guard.check(after, before=content)


def run(path, **options):
    model = flatbuffer.read_model(path)
    interpreter = Interpreter(path, **options)
    graph = model.subgraphs[0]
    names = [plain_name(flatbuffer.text(graph.tensors[int(i)].name)) for i in graph.inputs]
    interpreter.set_inputs(dict(zip(names, make_inputs(model), strict=True)))
    interpreter.invoke()
    interpreter.outputs()


def run_with_delegate(path):
    run(path, delegate="auto", delegate_options={"force": "all"})


OURS = {"inspect": read_text, "guard": find_problems, "sparsify": rewrite}
RUNTIMES = {"interpreter": run} | (
    {"delegate": run_with_delegate} if delegate.LIBRARY.is_file() else {}
)


def outcome(reader, path, log, limit_s=30):
    """What becomes of one file: FINE, REFUSED, TRACEBACK, HANG, or the signal that ended it."""
    child = os.fork()
    if not child:
        faulthandler.disable()
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        code = 2
        try:
            reader(path)
            code = 0
        except (UserError, MemoryError) as error:
            code = 1 if isinstance(error, UserError) else 2
        except BaseException:  # noqa: BLE001 (whatever it is, it is a finding)
            log.write_text(traceback.format_exc())
        finally:
            os._exit(code)
    # Not by the clock: a machine that pauses both of us is no hang.
    for _ in range(int(limit_s / 0.002)):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status):
                return signal.Signals(os.WTERMSIG(status)).name
            return (FINE, REFUSED, TRACEBACK)[os.WEXITSTATUS(status)]
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HANG


def outcomes(count, folder, seed=0, report=sys.stdout):
    """Give many mutants to every reader.

    Returns:
        A list of (number, damage, reader, outcome, details), one for each mutant and reader.
        Files of which one is neither FINE nor REFUSED are left in the folder.
    """
    rng = np.random.default_rng(seed)
    files = bases()
    results = []
    for number in range(count):
        content, damage = mutant(files[number % len(files)], rng)
        path, log = folder / f"{number}.tflite", folder / "log.txt"
        path.write_bytes(content)
        is_kept = False
        for name, reader in {**OURS, **RUNTIMES}.items():
            log.unlink(missing_ok=True)
            found = outcome(reader, path, log)
            details = log.read_text() if log.is_file() else ""
            results.append((number, damage, name, found, details))
            if found not in (FINE, REFUSED):
                is_kept = True
                print(f"{number} {damage}: {name}: {found}\n{details}", file=report, flush=True)
        if not is_kept:
            path.unlink()
    return results


def tables(results):
    """What became of mutants, by reader and by kind of damage, as lines of text."""
    readers = Counter((reader, found) for _, _, reader, found, _ in results)
    names = sorted({found for _, found in readers})
    lines = [f"reader: {' '.join(names)}"]
    for reader in (*OURS, *RUNTIMES):
        lines.append(f"{reader}: {' '.join(str(readers[reader, name]) for name in names)}")
    # A file with two kinds of damage counts for both.
    damage = {number: kinds for number, kinds, *_ in results}
    files = Counter(kind for kinds in damage.values() for kind in kinds.split("+"))
    bad = {(n, d, r in OURS) for n, d, r, found, _ in results if found not in (FINE, REFUSED)}
    ended = Counter((kind, is_ours) for _, kinds, is_ours in bad for kind in kinds.split("+"))
    lines.append("kind: files, of which end a reader of ours badly, a runtime")
    for kind in sorted(files):
        lines.append(f"{kind}: {files[kind]} {ended[kind, True]} {ended[kind, False]}")
    return lines


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=2)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = outcomes(flags.count, Path(folder), flags.seed)
    print("\n".join(tables(results)))


if __name__ == "__main__":
    main()
