"""Write the page of a run again, with figures of devices, or beside another run.

    report.py RUN [OTHER_RUN] [--device=FILE.json]... [--out=report.html]

RUN is the folder of a recipe run, such as runs/quickstart. FILE.json is what benchmark_device.py
wrote with --out.
"""

from pathlib import Path

from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tools._main import run

_DEVICES = flags.DEFINE_multi_string("device", [], "JSON of a device; may be repeated")
_OUT = flags.DEFINE_string("out", None, "page to write; default report.html in the run's folder")


def main(argv: list[str]) -> None:
    """Writes the page of the run that is named."""
    from tf_prune_ofa.report.collect import collect_run
    from tf_prune_ofa.report.html import build_report

    if not 2 <= len(argv) <= 3:
        raise UserError("name the folder of one run, or of two")
    out = Path(_OUT.value or Path(argv[1]) / "report.html")
    if out.suffix not in (".html", ".htm"):
        raise UserError(f"--out={out}: browsers know a page by its ending; write a name in .html")
    runs = [collect_run(folder) for folder in argv[1:]]
    other = runs[1] if len(runs) == 2 else None
    print(build_report(runs[0], out, devices=_DEVICES.value, other=other))


if __name__ == "__main__":
    run(main)
