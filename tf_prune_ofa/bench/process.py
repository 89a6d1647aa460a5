"""Start a measuring process, and ask it things."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import tf_prune_ofa
from tf_prune_ofa.errors import UserError

# Longer than any question takes that is ever going to be answered.
LIMIT_S = 1800.0


class WorkerProcess:
    """A process of `worker`, or of another module that serves; ends with the `with` block.

    Args:
        python: the interpreter to start; None means this one.
        module: calls `worker.serve`.
    """

    def __init__(
        self, python: Path | None = None, module: str = "tf_prune_ofa.bench.worker"
    ) -> None:
        # The package may be imported from a checkout that the new process does not know of.
        package_parent = str(Path(tf_prune_ofa.__file__).parent.parent)
        search_path = os.pathsep.join([package_parent, os.environ.get("PYTHONPATH", "")])
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [str(python or sys.executable), "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": search_path.rstrip(os.pathsep)},
        )
        assert self._process.stdin is not None and self._process.stdout is not None  # pipes
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def ask(self, question: str, about: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of the worker over there.

        Args:
            question: the method.
            about: the file that it is about, for messages.
            arguments: of the method, as JSON values.

        Raises:
            UserError: the worker says so, or the runtime killed it, or keeps it busy for ever.
        """
        try:
            self._questions.write(json.dumps({"do": question, **arguments}) + "\n")
            self._questions.flush()
            is_there, *_ = select.select([self._answers], [], [], LIMIT_S)
            if not is_there:
                self._process.kill()
                raise UserError(
                    f"The runtime did not come to an end within {LIMIT_S:g} s with {about}. Look "
                    "at the file with tools/inspect_tflite.py, or choose another --runtime."
                )
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._explain_end(about)
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"])
        return answer

    def _explain_end(self, about: str) -> None:
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()
        if code < 0:
            raise UserError(
                f"The runtime was killed ({signal.Signals(-code).name}) while it ran {about}. Look "
                "at the file with tools/inspect_tflite.py, or choose another --runtime. It said "
                f"last: {(said or 'nothing').splitlines()[-1]}"
            )
        raise RuntimeError(f"the measuring process ended with {code} at {about}:\n{said}")

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # At the end of its input it would end by itself, but runtimes take their time to close.
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):  # a question that it died of is still in there
            self._questions.close()
        self._answers.close()
        self._log.close()
