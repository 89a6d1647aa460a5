import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.experiments.comparison import load_plan
from tf_prune_ofa.recipe import load_recipe
from tf_prune_ofa.yaml_files import MAX_BYTES, MAX_DEPTH, parse_yaml, read_yaml


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "a.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_plain_values(file):
    text = "\ufeffa: 1\nb: [x, 2.5, true]\nc: {d: null}\n"
    assert read_yaml(file(text)) == {"a": 1, "b": ["x", 2.5, True], "c": {"d": None}}
    assert read_yaml(file("")) is None


def test_anchors_and_merges_stay(file):
    text = "base: &base {a: 1, b: 2}\nown:\n  <<: *base\n  b: 3\nsame: *base\n"
    content = read_yaml(file(text))
    assert content["own"] == {"a": 1, "b": 3}
    assert content["same"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a' is there twice, in line 1 too"),
        ("stages:\n  prune: {x: 1}\n  prune: {x: 2}\n", "'prune' is there twice, in line 2 too"),
        ("x: {1: a, 1: b}", "1 is there twice"),
        ("x: [{deep: {a: 1, 'a': 2}}]", "'a' is there twice"),
        ("b: &b {a: 1}\nx: {<<: *b, c: 1, c: 2}", "'c' is there twice"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(file, text, key):
    with pytest.raises(UserError, match=key):
        read_yaml(file(text))


def test_every_reader_of_yaml_refuses_it(file, tmp_path):
    twice = file("stages: {teacher: {}}\nseed: 1\nseed: 2\n")
    for read in (load_recipe, load_plan):
        with pytest.raises(UserError, match="'seed' is there twice"):
            read(twice)
    with pytest.raises(UserError, match="'seed' is there twice"):
        load_recipe("quickstart", [f"task={twice}"])
    with pytest.raises(UserError, match=r"--set.*'a' is there twice"):
        load_recipe("paper", ["prune.sparsity.rules={a: 0.5, a: 0.6}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, f"more than {MAX_DEPTH} levels"),
        ("{a: " * (MAX_DEPTH + 1), f"more than {MAX_DEPTH} levels"),
        ("a: &a [*a]", "an alias inside of what it stands for"),
        ("a: &a {b: *a}", "an alias inside of what it stands for"),
        ("a: 2026-13-45", "month"),
        ("a: " + "9" * 5000, "digits"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("{[a]: 1}", "unhashable|key"),
        ("? [a]\n: 1\n", "unhashable|key"),
        ("a: 1\n---\na: 2\n", "single document"),
        (b"a: \xff", "utf-8"),
        ("#" * (MAX_BYTES + 1), "more than 1 MB"),
        ("a: \0", "special characters"),
    ],
)
def test_what_is_no_yaml_of_a_recipe(file, text, message):
    with pytest.raises(UserError, match=message):
        read_yaml(file(text))


def test_aliases_that_grow_without_end_are_refused(file):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(UserError, match="more than 100,000 values"):
        read_yaml(file("\n".join(lines)))


def test_depth_that_is_allowed():
    assert parse_yaml("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))
