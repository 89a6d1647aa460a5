import ast
from pathlib import Path

from tf_prune_ofa import paths

PACKAGE = Path(paths.__file__).parent
NAMES = {
    value
    for name, value in vars(paths).items()
    if name.isupper() and "." in value[1:] and "{" not in value
}
OWN_NAMES = ("verification", "verify", "experiments")


def constants(path):
    """The strings of a module, docstrings and parts of messages left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_other_module_spells_the_name_of_a_file_of_a_run():
    assert {"result.json", "masks.npz", "ranges.json", "verify.json"} <= NAMES
    wrong = [
        f"{path.relative_to(PACKAGE)}: {value}"
        for path in PACKAGE.rglob("*.py")
        # The checker has names of its own, so as not to share the maker's mistakes; experiments
        # have files that are of no run.
        if path.name != "paths.py" and path.parent.name not in OWN_NAMES
        for value in constants(path)
        if value in NAMES
    ]
    assert not wrong
