"""What is installed, and which module may import which."""

import ast
import configparser
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LIBRARY = "tf_prune_ofa/runtime/libtf_prune_ofa_delegate.so"

# A module imports from what comes before it here, and from its own folder.
SETTINGS = ("paths", "variants", "yaml_files", "limits", "schedules", "config", "plain_values")
BASE = ("errors", "files", "array_files", "json_files", "text_table", "encoders")
BASE += ("architectures", *SETTINGS)
BASE += ("hub", "text", "keras_compat", "replicas")
TRAINING = ("data", "corpus", "models", "pruning", "quant", "distill", "train")
DEPLOYMENT = ("tflite", "runtime", "demo", "bench", "blocks", "conversion", "device")
RECIPES = ("verification", "tasks", "tiny", "recipe_checks", "file_stages")
RECIPES += ("idle_settings", "recipe_files", "recipe")
ORDER = (
    *(*BASE, *TRAINING, *DEPLOYMENT, *RECIPES),
    *("report", "jobs", "stages", "api", "experiments", "tools"),
)

KERAS = ("tensorflow", "tf_keras", "tensorflow_model_optimization")


def source_files():
    """Path of each module, and which part of ORDER it is."""
    for path in sorted(REPOSITORY.glob("tf_prune_ofa/**/*.py")):
        yield path, path.relative_to(REPOSITORY / "tf_prune_ofa").parts[0].removesuffix(".py")
    for path in sorted(REPOSITORY.glob("tools/*.py")):
        yield path, "tools"


def imported_names(tree):
    """Dotted names that the statements below `tree` import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_modules_import_from_lower_layers_only():
    wrong = []
    for path, part in source_files():
        if part == "__init__":
            continue
        assert part in ORDER, f"{part} is new: say in ORDER what it may import"
        allowed = {*ORDER[: ORDER.index(part)], part, "__version__"}
        if part in DEPLOYMENT:
            # These take a built model or a file; on a phone's test bench there is no training.
            allowed -= set(TRAINING)
        for name in imported_names(ast.parse(path.read_text(encoding="utf-8"))):
            package, _, rest = name.partition(".")
            if package == "tf_prune_ofa" and rest and rest.split(".")[0] not in allowed:
                wrong.append(f"{path.relative_to(REPOSITORY)} imports {name}")
    assert not wrong


def test_the_checker_does_not_share_the_code_it_checks():
    """Else a fault in what writes the files would be one in what checks them, too."""
    exporters = ("conversion", "blocks", "tflite.graph", "tflite.sparse", "tflite.dense_layers")
    for path, part in source_files():
        if part == "verification":
            names = list(imported_names(ast.parse(path.read_text(encoding="utf-8"))))
            assert not [n for n in names if n.removeprefix("tf_prune_ofa.").startswith(exporters)]


def test_keras_2_and_tfmot_come_from_keras_compat_only():
    importers = {
        part
        for path, part in source_files()
        for name in imported_names(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in KERAS
    }
    assert importers == {"keras_compat"}


def test_keras_3_is_imported_inside_functions_only():
    for path, _ in source_files():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                top = {name.split(".")[0] for name in imported_names(node)}
                assert not top & {"keras", "keras_hub", "keras_nlp"}, path


def copied_sources(folder, *more):
    # setuptools builds inside the folder.
    copy = folder / "source"
    copy.mkdir()
    for name in ("tf_prune_ofa", "tools", "configs", "native", *more):
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(REPOSITORY / name, copy / name, ignore=ignored)
    settings = ("setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "Makefile")
    for name in (*settings, "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # Without isolation: no network. What the library's code is compiled to does not matter here.
    folder = tmp_path_factory.mktemp("wheel")
    copy = copied_sources(folder)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, copy],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CXXFLAGS": "-O0"},
    )
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_everything(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    wanted = set()
    for folder, inside in (
        ("tf_prune_ofa", "tf_prune_ofa"),
        ("tools", "tf_prune_ofa/tools"),
        ("configs", "tf_prune_ofa/configs"),
    ):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".html", ".npz", ".md", ".json", ".txt"):
                wanted.add(f"{inside}/{path.relative_to(REPOSITORY / folder).as_posix()}")
    assert held >= wanted
    # Nothing beside it: an installed `tests` or `tools` would be in everybody's way.
    assert {name.split("/")[0] for name in held - wanted - {LIBRARY}} == {
        next(name for name in held if ".dist-info/" in name).split("/")[0]
    }
    assert any(name.endswith("LICENSE") for name in held)


HAS_LIBRARY = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
HAS_COMPILER = any(map(shutil.which, ("c++", "g++", "clang++")))


@pytest.mark.skipif(not (HAS_LIBRARY and HAS_COMPILER), reason="no C++ compiler here")
def test_the_wheel_holds_the_delegate(wheel):
    with zipfile.ZipFile(wheel) as archive:
        assert LIBRARY in archive.namelist()
    # For this processor, and any Python that the package is for.
    assert wheel.stem.split("-")[2:4] == ["cp310", "abi3"]
    assert wheel.stem.endswith(platform.machine())
    with zipfile.ZipFile(wheel) as archive:
        needed = re.findall(rb"\0GLIBC_2\.(\d+)", archive.read(LIBRARY))
    is_static = b"libstdc++.so" not in zipfile.ZipFile(wheel).read(LIBRARY)
    if needed and is_static:
        newest = max(map(int, needed))
        assert wheel.stem.split("-")[-1] == f"manylinux_2_{newest}_{platform.machine()}"


def test_a_wheel_without_the_delegate_is_for_every_system(tmp_path):
    # In a fresh process: setup.py is a script.
    program = """
import runpy, sys
from pathlib import Path
made = runpy.run_path("setup.py", run_name="setup")
from setuptools import Distribution, Extension
distribution = Distribution({"name": "x", "ext_modules": [Extension(made["LIBRARY"], sources=[])]})
wheel = made["NamedWheel"](distribution)
wheel.bdist_dir = sys.argv[1]
wheel.py_limited_api = "cp310"
wheel.finalize_options()
print("-".join(wheel.get_tag()))
"""
    command = [sys.executable, "-c", program, tmp_path]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    warning, tag = done.stdout.splitlines()
    assert tag == "py3-none-any" and "without the sparse INT8 delegate" in warning


def test_a_source_archive_holds_docs_and_tests(tmp_path):
    copy = copied_sources(tmp_path, "docs", "tests")
    command = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", tmp_path]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    wanted = {"CHANGELOG.md", "Makefile", "setup.py", "native/exports.map", "tests/conftest.py"}
    wanted |= {f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")}
    assert wanted <= held
    assert not any(name.endswith((".so", ".pyc")) for name in held)


def test_it_builds_without_a_compiler(tmp_path):
    copy = copied_sources(tmp_path)
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        capture_output=True,
        text=True,
        check=False,
        cwd=copy,
        env=os.environ | {"CXX": "no-such-compiler"},
    )
    assert done.returncode == 0, done.stderr
    assert not (copy / LIBRARY).exists()
    if HAS_LIBRARY:
        assert "no C++ compiler found (tried no-such-compiler)" in done.stderr


def test_tools_start_from_the_wheel(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)

    def start(*arguments):
        # What the command tf-prune-ofa does, on the wheel's content instead of the checkout.
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv[0] = 'tf-prune-ofa'; "
        code += "from tf_prune_ofa.tools.__main__ import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    listed = start()
    assert listed.returncode == 0
    for path in REPOSITORY.glob("tools/[!_]*.py"):
        assert f"\n  {path.stem} " in listed.stdout
    mistyped = start("run-recipie")
    assert mistyped.returncode == 1
    assert mistyped.stderr == ("Error: There is no tool 'run-recipie'. Did you mean run_recipe?\n")
    # A tool's own complaint shows that it was started, and from where.
    assert "Name one .tflite file" in start("inspect_tflite").stderr


def test_every_test_file_has_a_name_of_its_own():
    # pytest imports them by their names alone; two of one name are an error before any test runs.
    names = [path.name for path in REPOSITORY.glob("tests/**/test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_running_a_file_needs_no_more_than_its_extra():
    """What the classes that run files import is what pip install '.[runtime]' brings."""
    code = "import sys\nbefore = set(sys.modules)\nimport tf_prune_ofa as ofa\n"
    code += "ofa.TextClassifier, ofa.QuestionAnswerer, ofa.TokenClassifier\n"
    code += "from tf_prune_ofa.demo import server\n"
    code += "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    asked = settings["options.extras_require"]["runtime"].splitlines()
    asked += settings["options"]["install_requires"].splitlines()
    brought, waiting = {"tf-prune-ofa"}, [line for line in asked if line and line[0] != "#"]
    while waiting:
        requirement = waiting.pop()
        name = re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")
        if "extra ==" in requirement or name in brought:
            continue
        brought.add(name)
        try:
            waiting += importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system
    owners = importlib.metadata.packages_distributions()
    for module in set(done.stdout.split()) & set(owners) - {"tf_prune_ofa"}:
        names = {name.lower().replace("_", "-") for name in owners[module]}
        assert names & brought, f"{module} is imported, and [runtime] does not bring it"
