"""Change every file of every kind of model in every way, and say what the checks say.

    python tests/tampering_table.py [FOLDER]

Prints a table: how many files each change can be made to, how many are refused, and the first
reason. Takes a minute.
"""

import sys
import tempfile
from pathlib import Path

import verified_models
from tampering import CHANGES

from tf_prune_ofa.text_table import text_table
from tf_prune_ofa.verification import files


def main(folder):
    """Print the table; return how many changed files passed."""
    models = {kind: verified_models.export(kind, folder / kind) for kind in verified_models.KINDS}
    clean = sum(
        files.find_problems(model.read(variant), variant, model.expected) == []
        for model in models.values()
        for variant in verified_models.VARIANTS
    )
    print(f"untouched: {clean} of {len(models) * len(verified_models.VARIANTS)} files pass")
    rows, missed = [], 0
    for change in CHANGES:
        made, refused, reason = 0, 0, ""
        for kind, model in models.items():
            for variant in verified_models.VARIANTS:
                changed = change(model.read(variant))
                if changed is None:
                    continue
                made += 1
                problems = files.find_problems(changed, variant, model.expected)
                refused += bool(problems)
                reason = reason or next(iter(problems), "")
                if not problems:
                    print(f"NOT SEEN: {change.__doc__} in {variant} of the {kind}")
        rows.append([change.__doc__, str(made), str(refused), reason[:90]])
        missed += made - refused
    print(text_table(["change", "files", "refused", "first reason"], rows, left=[0, 3]))
    print(f"{sum(int(row[1]) for row in rows)} changed files, {missed} not refused")
    return missed


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(bool(main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch))))
