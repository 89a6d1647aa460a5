import dataclasses
import typing
from pathlib import Path

import pytest
import yaml

from tf_prune_ofa import config
from tf_prune_ofa.config import (
    STAGE_KINDS,
    About,
    PruneSettings,
    Recipe,
    RuleSettings,
    TrainSettings,
)
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.limits import WEIGHT, limited, limits_of
from tf_prune_ofa.plain_values import digest, to_dict
from tf_prune_ofa.recipe import load_recipe, recipe_from_dict
from tf_prune_ofa.schedules import Duration, steps_of
from tf_prune_ofa.tiny import shrink

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
every_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)

RECIPE = """
about: {title: A recipe}
seed: 3
model: {weights: some/folder}
task: {source: files, train: a.tsv, dev: b.tsv, labels: [0, 1]}
stages:
  teacher:
    objective: mlm
    learning_rate: 1e-4
  prune:
    start: teacher
    teacher: teacher
    loss: {hard: 0.5, soft: 0.5}
    sparsity:
      rules: {encoder_.*: 0.9}
  second:
    kind: transfer
    start: prune
"""


@pytest.fixture
def recipe_file(tmp_path):
    def write(text=RECIPE):
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def changed(**sections):
    """The recipe as plain values, with whole sections replaced."""
    return {**yaml.safe_load(RECIPE), **sections}


def stage(**settings):
    return changed(stages={"prune": settings})


def build(data):
    return recipe_from_dict(data, name="test")


# Reading


def test_values_and_defaults(recipe_file):
    recipe = load_recipe(recipe_file())
    assert (recipe.name, recipe.seed, recipe.about.title) == ("recipe", 3, "A recipe")
    assert list(recipe.stages) == ["teacher", "prune", "second"]
    assert [stage.kind for stage in recipe.stages.values()] == ["finetune", "prune", "transfer"]
    assert recipe.stages["prune"].sparsity.rules == {"encoder_.*": 0.9}
    assert recipe.stages["prune"].sparsity.ramp_end == "50%"
    assert recipe.task.labels == ("0", "1")


def test_settings_cannot_be_changed(recipe_file):
    recipe = load_recipe(recipe_file())
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.stages["prune"].batch_size = 1


def test_a_stage_without_settings_takes_the_defaults():
    assert build({"stages": {"teacher": None}}).stages["teacher"].batch_size == 32


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("2E-5", 2e-5), ("1", 1.0)])
def test_a_number_without_a_dot_is_a_number(recipe_file, text, value):
    recipe = load_recipe(recipe_file(RECIPE.replace("1e-4", text)))
    rate = recipe.stages["teacher"].learning_rate
    assert rate == value and isinstance(rate, float)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(sead=1), "unknown key 'sead'. Did you mean 'seed'?"),
        (changed(model={"wieghts": "x"}), "'model.wieghts'. Did you mean 'weights'?"),
        (changed(task={"max_len": 3}), "'task.max_len'. Did you mean 'max_length'?"),
        (changed(about={"titel": "x"}), "'about.titel'. Did you mean 'title'?"),
        (stage(learningrate=1), "'prune.learningrate'. Did you mean 'learning_rate'?"),
        (stage(sparsity={"rampend": 1}), "'prune.sparsity.rampend'. Did you mean 'ramp_end'?"),
        (stage(loss={"temprature": 1}), "'prune.loss.temprature'. Did you mean 'temperature'?"),
        (changed(stages={"prun": {}}), "'prun' has the unknown kind 'prun'. Did you mean 'prune'?"),
        (changed(stages={"x": {"kind": "quantise"}}), "'quantise'. Did you mean 'quantize'?"),
        (
            changed(stages={"export": {"start": "", "variants": ["dense_int"]}}),
            "export.variants: unknown variant 'dense_int'. Did you mean 'dense_int8'?",
        ),
        (
            changed(stages={"export": {"start": "", "variants": ["block_sparse_int8"]}}),
            "export.variants: block_sparse_int8 is verified against dense_int8, which is not",
        ),
        (
            stage(sparsity={"rewind": "cycle"}),
            "prune.sparsity.rewind must be one of True, False, 'cycles', got 'cycle'. Did you mean",
        ),
        (stage(objective="mml"), "prune.objective must be one of 'mlm', 'task', got 'mml'"),
        (changed(stages={"prune": {"zzz": 1}}), "unknown key 'prune.zzz'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(data, message):
    with pytest.raises(UserError) as error:
        build(data)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(seed="x"), "seed must be of type int, got 'x'"),
        (changed(seed=1.5), "seed must be of type int, got 1.5"),
        (changed(seed=True), "seed must be of type int, got True"),
        (stage(batch_size="32"), "prune.batch_size must be of type int, got '32'"),
        (stage(batch_size=None), "prune.batch_size must be of type int, got None"),
        (stage(learning_rate="fast"), "prune.learning_rate must be of type float, got 'fast'"),
        (stage(learning_rate=True), "prune.learning_rate must be of type float, got True"),
        (stage(learning_rate=[1]), "prune.learning_rate must be of type float, got [1]"),
        (stage(nsp=1), "prune.nsp must be of type bool, got 1"),
        (stage(nsp="yes"), "prune.nsp must be of type bool, got 'yes'"),
        (stage(start=["a"]), "prune.start must be of type str, got ['a']"),
        (stage(length="2 epoks"), "prune.length: '2 epoks' is not a duration"),
        (stage(length="9" * 400 + " steps"), "prune.length: '999"),
        (stage(length=10**12), "prune.length: 1000000000000 is not a duration"),
        (stage(length=10**5000), "prune.length must be a duration, got a number of"),
        (stage(length=None), "prune.length: None is not a duration"),
        (stage(frozen="pooler"), "prune.frozen must be a list, got 'pooler'"),
        (stage(loss=0.5), "'prune.loss' must be a mapping of settings, got 0.5"),
        (stage(sparsity={"rules": ["a"]}), "prune.sparsity.rules must be a mapping, got ['a']"),
        (stage(sparsity={"rules": {"a": "b"}}), "prune.sparsity.rules.a must be of type float"),
        (stage(sparsity={"rules": {"a": {"pattern": "heads"}}}), "rules.a' needs 'sparsity', got"),
        (stage(sparsity={"rules": {"a": {"sparse": 0.5}}}), "'prune.sparsity.rules.a.sparse'. Did"),
        (stage(sparsity={"fisher": {"block": 0}}), "prune.sparsity.fisher.block must be from 1 to"),
        (changed(stages={"prune": 3}), "stage 'prune' must be a mapping of settings, got 3"),
        (changed(stages=[]), "a recipe needs 'stages'"),
        (changed(stages={}), "a recipe needs 'stages'"),
        (changed(model="minilm_l6"), "'model' must be a mapping of settings, got 'minilm_l6'"),
        # YAML reads these words as truth values; as label names they would match nothing.
        (changed(task={"labels": [True, False]}), "task.labels must be of type str, got True"),
    ],
)
def test_wrong_types_are_refused_with_the_place(data, message):
    with pytest.raises(UserError) as error:
        build(data)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (stage(loss={"temperature": 0}), "prune.loss.temperature"),
        (stage(loss={"hard": -1}), "prune.loss.hard"),
        (stage(loss={"hard": 0, "soft": 0}), "prune.loss"),
        (stage(learning_rate=-1e-4), "prune.learning_rate"),
        (stage(learning_rate="nan"), "prune.learning_rate"),
        (stage(batch_size=0), "prune.batch_size"),
        (stage(mlm_share=0), "prune.mlm_share"),
        (stage(mlm_share=1.5), "prune.mlm_share"),
        (stage(weight_decay=-0.1), "prune.weight_decay"),
        (stage(clip_norm=-1), "prune.clip_norm"),
        (changed(stages={"quantize": {"range_momentum": 1}}), "quantize.range_momentum"),
        (changed(stages={"quantize": {"calibration_batches": 0}}), "quantize.calibration_batches"),
        (changed(model={"dropout": 1}), "model.dropout"),
        (changed(model={"dropout": -0.1}), "model.dropout"),
        (changed(task={"train_limit": -1}), "task.train_limit"),
        (changed(task={"max_length": 0}), "task.max_length"),
        (changed(seed=-1), "seed"),
        (stage(augment={"probability": 1.1}), "prune.augment.probability"),
        (stage(augment={"copies": 0}), "prune.augment.copies"),
        (stage(loss={"teacher_layers": [0]}), "prune.loss.teacher_layers"),
        (stage(sparsity={"cycle_floor": -0.1}), "prune.sparsity.cycle_floor"),
        (changed(task={"corpus_length": -1}), "task.corpus_length"),
        # Numbers that were taken, and ended in a traceback or a full memory hours later.
        (changed(seed=2**63), "seed"),
        (changed(seed=10**5000), "seed"),
        (stage(learning_rate=1e308), "prune.learning_rate"),
        (stage(learning_rate=float("inf")), "prune.learning_rate"),
        (stage(batch_size=10**9), "prune.batch_size"),
        (stage(loss={"soft": "1e300"}), "prune.loss.soft"),
        (stage(loss={"teacher_layers": [10**9]}), "prune.loss.teacher_layers"),
        (stage(sparsity={"rules": {"a": 1}}), "prune.sparsity.rules.a"),
        (stage(sparsity={"rules": {"a": {"sparsity": 2}}}), "prune.sparsity.rules.a.sparsity"),
        (changed(task={"max_length": 10**9}), "task.max_length"),
        (changed(stages={"export": {"sequence_length": 10**9}}), "export.sequence_length"),
    ],
)
def test_numbers_out_of_range_are_refused_with_the_place(data, key):
    with pytest.raises(UserError, match=f"^{key} must be "):
        build(data)


def test_every_number_of_a_recipe_has_a_limit():
    """So that a new setting gets one, and 1e308 of something is refused by its name."""
    for settings in (*STAGE_KINDS.values(), config.TaskSettings, config.SizeSettings):
        check_limits(settings)


def check_limits(settings):
    hints, limits = typing.get_type_hints(settings), limits_of(settings)
    for name, hint in hints.items():
        parts = {hint, *typing.get_args(hint)}
        if dataclasses.is_dataclass(hint):
            check_limits(hint)
        elif parts & {int, float, float | RuleSettings} and hint != Duration:
            assert name in limits, f"{settings.__name__}.{name}"


def random_model(**sizes):
    base = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "intermediate_size": 8}
    return changed(model={"weights": "random", "sizes": {**base, **sizes}})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (random_model(num_heads=0), "model.sizes.num_heads must be from 1"),
        (random_model(num_layers=10**9), "model.sizes.num_layers must be from 1"),
        (random_model(hidden_size="8"), "model.sizes.hidden_size must be of type int"),
        (random_model(hiden_size=8), "'model.sizes.hiden_size'. Did you mean 'hidden_size'?"),
        (random_model(architecture="gpt2"), "'gpt2' is no architecture of this package"),
        (changed(model={"weights": "random"}), "'model.sizes' needs 'hidden_size'"),
    ],
)
def test_sizes_of_a_random_encoder(data, message):
    assert build(random_model()).model.sizes["num_layers"] == 1
    with pytest.raises(UserError) as error:
        build(data)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["../../../evil", "/tmp/evil", ".hidden", "a/b", "a\0b", "x" * 300, "", 7, True, None,
     "-a", "a\nb", "task", "model", ("a", "b")],
)  # fmt: skip
def test_names_that_would_be_paths_or_sections_are_no_stages(name):
    with pytest.raises(UserError, match="no name of a stage|which is a section of the recipe"):
        build(changed(stages={name: {"kind": "finetune"}}))
    build(changed(stages={"Lehrer für_2.b-c": {"kind": "finetune"}}))


def test_keys_and_texts_that_are_none():
    both = {"rules": {1: 0.5, "1": 0.5}}
    with pytest.raises(UserError, match=r"prune\.sparsity\.rules has a key twice"):
        build(stage(sparsity=both))
    for text in ("a\0b", "a\ud800"):
        with pytest.raises(UserError, match=r"task\.train holds a character"):
            build(changed(task={"train": text}))
    with pytest.raises(UserError, match=r"unknown kind \['a'\]"):
        build(changed(stages={"x": {"kind": ["a"]}}))
    with pytest.raises(UserError, match="there is no such file"):
        load_recipe("quickstart", [f"task={'x' * 300}"])
    with pytest.raises(UserError, match="prune.teacher refers to 'xxx"):
        build(stage(teacher="x" * 300, loss={"soft": 1.0}))
    with pytest.raises(UserError, match="cannot be read: File name too long"):
        load_recipe("x" * 300)


def test_files_that_are_no_recipe(recipe_file, tmp_path):
    with pytest.raises(UserError, match=r"is not valid YAML"):
        load_recipe(recipe_file("stages: {a: [}"))
    with pytest.raises(UserError, match="must hold a mapping with the key 'stages', got list"):
        load_recipe(recipe_file("- 1"))
    with pytest.raises(UserError, match="must hold a mapping with the key 'stages', got NoneType"):
        load_recipe(recipe_file(""))
    recipe_file()
    with pytest.raises(UserError, match=r"Did you mean 'recipe.yaml'\?"):
        load_recipe(tmp_path / "recipie.yaml")
    with pytest.raises(UserError, match="no recipe file"):
        load_recipe(tmp_path / "nowhere" / "recipe.yaml")
    with pytest.raises(UserError, match="recipe"):
        load_recipe(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("about: {title: caf\xe9}".encode("latin1"))
    with pytest.raises(UserError, match="is not valid YAML"):
        load_recipe(tmp_path / "latin.yaml")


# Overrides


def test_set(recipe_file):
    overrides = [
        "seed=5",
        "prune.learning_rate=1e-3",
        "stages.prune.sparsity.ramp_end=60%",
        "prune.sparsity.rules={encoder_.*: 0.5, pooler: 0}",
        "prune.loss.temperature=4",
        "teacher.length=30 steps",
        "task.labels=[bad, good]",
        "model.weights=hf://user/model=1",
    ]
    recipe = load_recipe(recipe_file(), overrides)
    prune = recipe.stages["prune"]
    assert recipe.seed == 5
    assert prune.learning_rate == 1e-3
    assert prune.sparsity.ramp_end == "60%"
    assert list(prune.sparsity.rules.items()) == [("encoder_.*", 0.5), ("pooler", 0.0)]
    assert (prune.loss.temperature, prune.loss.soft) == (4.0, 0.5)
    assert recipe.stages["teacher"].length == "30 steps"
    assert recipe.task.labels == ("bad", "good")
    assert recipe.model.weights == "hf://user/model=1"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "write it as section.key=value"),
        ("=1", "write it as section.key=value"),
        ("prun.length=1", "no section or stage 'prun'. Did you mean 'prune'?"),
        ("prune.lenght=1", "unknown key 'prune.lenght'. Did you mean 'length'?"),
        ("prune.loss.temprature=1", "Did you mean 'temperature'?"),
        ("seed.x=1", "'seed' is a value, not a section"),
        ("prune.length=[", "the value is not valid YAML"),
        ("prune.batch_size=many", "prune.batch_size must be of type int, got 'many'"),
        ("prune=3", "stage 'prune' must be a mapping of settings, got 3"),
    ],
)
def test_bad_overrides_are_refused(recipe_file, override, message):
    with pytest.raises(UserError) as error:
        load_recipe(recipe_file(), [override])
    assert message in str(error.value)


# Tasks by name


def write_task(folder, text="{source: files, train: c.tsv, dev: d.tsv}"):
    (folder / "own.yaml").write_text(text)
    return folder


def test_a_task_is_included_by_name(recipe_file, tmp_path, monkeypatch):
    """A file beside the recipe, from the working folder, or of this package."""
    text = RECIPE.replace("{source: files, train: a.tsv, dev: b.tsv, labels: [0, 1]}", "own.yaml")
    write_task(tmp_path)
    assert load_recipe(recipe_file(text)).task.train == "c.tsv"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_task(elsewhere, "{source: files, train: e.tsv, dev: f.tsv}")
    monkeypatch.chdir(elsewhere)
    assert load_recipe(recipe_file(text)).task.train == "e.tsv"
    chosen = load_recipe(recipe_file(text), ["task=mrpc", "task.max_length=99"]).task
    assert (chosen.source, chosen.max_length, chosen.train) == ("glue/mrpc", 99, "")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "mprc",
            "{}",
            "no task of that name. Did you mean 'mrpc'?; tasks are cola, conll, emb",
        ),
        ("own.yaml", "[1]", "must hold the settings of a task, got list"),
        ("own.yaml", "a: [", "is not valid YAML"),
        ("own.yaml", "{sauce: files}", "unknown key 'task.sauce'. Did you mean 'source'?"),
    ],
)
def test_tasks_that_are_none(recipe_file, tmp_path, name, text, message):
    write_task(tmp_path, text)
    with pytest.raises(UserError) as error:
        load_recipe(recipe_file(), [f"task={name}"])
    assert message in str(error.value)


def chain(**stages):
    base = {
        "words": {"kind": "finetune", "objective": "mlm"},
        "learn": {"kind": "finetune"},
        "q": {"kind": "quantize", "start": "learn"},
    }
    return changed(stages={**base, "export": {"start": "q"}, **stages})


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"export": {"start": "model"}}, "export.start must be a stage with a model of the task"),
        ({"export": {"start": ""}}, "export.start must be a stage with a model of the task"),
        ({"export": {"start": "words"}}, "export.start must be .* got 'words'"),
        ({"export": {"start": "learn"}}, "has dense_int8, sparse_int8, which need the ranges of"),
        ({"verify": {"start": "q"}}, "verify.start must be a stage that exports files, got 'q'"),
        ({"benchmark": {"start": "model"}}, "benchmark.start must be a stage that exports files"),
        ({"transfer": {"start": "export"}}, "transfer.start is 'export', which leaves no model"),
        (
            {"prune": {"kind": "reconstruct", "start": "words", "scope": "global"}},
            "ranks by the loss of objective 'task', but prune.start is 'words', which learns 'mlm'",
        ),
    ],
)
def test_what_a_late_stage_could_not_use_is_refused_at_once(stages, message):
    build(chain(verify={}, benchmark={}))
    build(chain(export={"start": "learn", "variants": ["float32", "dynamic_int8"]}))
    with pytest.raises(UserError, match=message):
        build(chain(**stages))


# Files of any recipe


def added(name, *overrides, **options):
    recipe = load_recipe(name, overrides[:1], **options)
    whole = load_recipe(name, overrides, export=True, **options)
    assert list(whole.stages) == [*recipe.stages, "quantize", "export", "verify", "report"]
    return whole


def test_a_recipe_without_files_gets_the_stages_that_make_them():
    sparse = added("reconstruct_minilm", "task=mrpc")
    assert (sparse.stages["quantize"].start, sparse.stages["quantize"].teacher) == (
        "transfer", "task_teacher"
    )  # fmt: skip
    assert sparse.stages["export"].sequence_length == 128
    assert sparse.stages["export"].variants == ("dynamic_int8", "dense_int8", "sparse_int8")
    dense = added("dense_minilm", "task=sst2", "export.sequence_length=48", "quantize.length=9")
    assert (dense.stages["quantize"].start, dense.stages["quantize"].teacher) == (
        "task_teacher", "task_teacher"
    )  # fmt: skip
    assert (dense.stages["export"].sequence_length, dense.stages["quantize"].length) == (48, 9)
    assert dense.stages["export"].variants == ("dynamic_int8", "dense_int8")
    tiny = added("reconstruct_minilm_squad_80", "task.max_length=192", tiny=True)
    assert tiny.stages["export"].sequence_length == 32


@every_config
def test_every_recipe_ends_in_files_or_can(path):
    recipe = load_recipe(path)
    if any(isinstance(one, config.ExportSettings) for one in recipe.stages.values()):
        with pytest.raises(UserError, match="already; leave out --export"):
            load_recipe(path, export=True)
    else:
        added(path, "seed=1")


def test_there_must_be_a_model_to_export(recipe_file):
    text = "stages: {teacher: {objective: mlm}}"
    with pytest.raises(UserError, match="ends without a model of the task to export"):
        load_recipe(recipe_file(text), export=True)
    # Of a model that was pruned in one shot, its own teacher is what it was.
    text = "stages: {a: {kind: finetune}, b: {kind: reconstruct, start: a}}"
    assert load_recipe(recipe_file(text), export=True).stages["quantize"].teacher == "a"


# The corpus


def test_a_corpus_of_an_older_recipe_is_moved_out_of_its_task():
    task = {"source": "files", "corpus": ["a.txt"], "corpus_length": 64, "corpus_limit": 9}
    recipe = build(changed(task=task))
    assert recipe.corpus == config.CorpusSettings(files=("a.txt",), length=64, limit=9)
    assert recipe.task == config.TaskSettings(source="files")
    both = build(changed(task={"corpus_length": 8}, corpus={"files": ["b.txt"], "length": 32}))
    assert both.corpus == config.CorpusSettings(files=("b.txt",), length=8)


@every_config
def test_what_is_pruned_once_for_all_is_pruned_on_text_of_its_own(path):
    """Also where another task is put in the place of the recipe's."""
    recipe = load_recipe(path)
    is_once = path.stem.startswith("prune_ofa") and recipe.stages["prune"].objective == "mlm"
    if is_once and not path.stem.startswith(("prune_ofa_minilm_reviews", "prune_ofa_minilm_squad")):
        other = load_recipe(path, ["task=mrpc"])
        assert recipe.corpus.files and recipe.corpus.length and other.corpus == recipe.corpus


# References


@pytest.mark.parametrize("key", ["start", "teacher"])
def test_a_stage_refers_only_to_stages_before_it(key):
    stages = {"teacher": {key: "prune"}, "prune": {}}
    with pytest.raises(UserError, match=f"teacher.{key} refers to 'prune'.*before it: none"):
        build(changed(stages=stages))
    with pytest.raises(UserError, match=f"prune.{key} refers to 'prune'"):
        build(changed(stages={"prune": {key: "prune"}}))
    with pytest.raises(UserError, match=r"Did you mean 'teacher'\?"):
        build(changed(stages={"teacher": {}, "prune": {key: "techer"}}))


def test_an_encoder_is_a_start_by_its_name():
    recipe = build(changed(stages={"transfer": {"start": "minilm_l6"}}))
    assert recipe.stages["transfer"].start == "minilm_l6"
    with pytest.raises(UserError, match="transfer.start refers to 'minilm'"):
        build(changed(stages={"transfer": {"start": "minilm"}}))


def test_model_is_a_start_but_no_teacher():
    build(changed(stages={"prune": {"start": "model"}}))
    with pytest.raises(UserError, match="prune.teacher refers to 'model'"):
        build(changed(stages={"prune": {"teacher": "model"}}))
    # But where the encoder's own outputs are learned.
    student = {"teacher": "model", "loss": {"soft": 1.0}}
    build(changed(task={"source": "embeddings"}, stages={"prune": student}))


def test_a_teacher_may_come_from_a_folder_or_a_hub(tmp_path, monkeypatch):
    for name in ("hf://user/model", "models/large", str(tmp_path)):
        recipe = build(stage(teacher=name, loss={"soft": 1.0}, augment={"model": name}))
        assert recipe.stages["prune"].teacher == name
        assert config.references(recipe.stages["prune"]) == {
            "start": "model", "teacher": name, "augment.model": name
        }  # fmt: skip
    with pytest.raises(UserError, match="prune.start refers to 'hf://user/model'"):
        build(stage(start="hf://user/model"))
    with pytest.raises(UserError, match="prune.augment.model refers to 'mlm', which is not a"):
        build(stage(augment={"model": "mlm"}))
    monkeypatch.chdir(tmp_path.parent)
    build(stage(teacher=tmp_path.name, loss={"soft": 1.0}))


@pytest.mark.parametrize("term", ["soft", "hidden", "attention", "layerwise", "channels"])
def test_distillation_needs_a_teacher(term):
    with pytest.raises(UserError, match="prune.loss has .* but prune.teacher names no stage"):
        build(stage(loss={term: 0.5}))


# Digests


def test_equal_settings_have_equal_digests(recipe_file):
    first, second = (load_recipe(recipe_file()).stages["prune"] for _ in range(2))
    assert digest(first) == digest(second)
    assert digest({"a": (1, 2)}) == digest({"a": [1, 2]})


def test_the_digest_of_known_settings_stays():
    """Digests name the folders of finished runs: a change of this value invalidates all of them."""
    assert digest(["a", 1, 0.5, {"b": None}])[:16] == "9691142d3551db8d"


def other_value(value, hint):
    """Some other value of the same type."""
    if typing.get_origin(hint) is typing.Literal:
        return next(a for a in typing.get_args(hint) if a != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, tuple):
        return (*value, "x")
    if isinstance(value, dict):
        return {**value, "x": 0.1}
    field = dataclasses.fields(value)[0]
    hints = typing.get_type_hints(type(value))
    changed_value = other_value(getattr(value, field.name), hints[field.name])
    return dataclasses.replace(value, **{field.name: changed_value})


@pytest.mark.parametrize("kind", STAGE_KINDS)
def test_every_setting_changes_the_digest(kind):
    settings = STAGE_KINDS[kind]()
    hints = typing.get_type_hints(type(settings))
    digests = {digest(settings)}
    for field in dataclasses.fields(settings):
        value = other_value(getattr(settings, field.name), hints[field.name])
        digests.add(digest(dataclasses.replace(settings, **{field.name: value})))
    assert len(digests) == 1 + len(dataclasses.fields(settings))


def test_runs_of_before_a_setting_came_are_found_again():
    """The digest of a stage's settings when there was no loss by channel."""
    settings = config.FinetuneSettings()
    assert digest(settings)[:16] == "0feb7e6dabdac055"
    changed = dataclasses.replace(settings.loss, channels=0.5)
    assert digest(dataclasses.replace(settings, loss=changed)) != digest(settings)
    assert to_dict(settings)["loss"]["channels"] == 0.0  # what a result says is whole

    @dataclasses.dataclass(frozen=True)
    class WithMapping:
        rules: dict = limited({"a": 1.0}, WEIGHT, is_newer=True)

    assert digest(WithMapping()) == digest({}) != digest(WithMapping({"a": 2.0}))


def test_the_order_of_rules_changes_the_digest():
    """The last match wins, so the order is part of what a recipe says."""
    rules = {"encoder_.*": 0.9, "encoder_00.*": 0.0}
    one, other = (
        PruneSettings(sparsity=config.SparsitySettings(rules=dict(items)))
        for items in (rules.items(), reversed(rules.items()))
    )
    assert digest(one) != digest(other)


# Tiny


@every_config
def test_configs_are_valid_and_have_their_story(path):
    recipe = load_recipe(path)
    missing = [f.name for f in dataclasses.fields(About) if not getattr(recipe.about, f.name)]
    assert not missing, f"{path.name}: about lacks {missing}"


@every_config
def test_tiny_keeps_the_path_and_shrinks_the_work(path):
    recipe, tiny = load_recipe(path), load_recipe(path, tiny=True)
    # What stands in for a sparse encoder from elsewhere comes on top.
    assert [name for name in tiny.stages if name != "sparse_encoder"] == list(recipe.stages)
    assert tiny.model.weights == "random" and tiny.task.train_limit <= 96
    for name, full in recipe.stages.items():
        small = tiny.stages[name]
        assert type(small) is type(full)
        if not isinstance(full, TrainSettings):
            continue
        assert small.length == "12 steps"
        assert small.start in (full.start, "sparse_encoder")
        for key in ("teacher", "objective", "nsp", "mlm_distil", "learning_rate"):
            assert getattr(small, key) == getattr(full, key)
        # The tiny encoder has two layers only.
        assert small.loss == dataclasses.replace(full.loss, teacher_layers=())
        if isinstance(full, PruneSettings):
            assert small.sparsity.rules == full.sparsity.rules
    # Another digest for every stage: a tiny run never passes for the real one.
    assert not {digest(s) for s in tiny.stages.values() if isinstance(s, TrainSettings)} & {
        digest(s) for s in recipe.stages.values()
    }


@pytest.mark.parametrize("goal", [{"speedup": 2.35}, {"latency_ms": 2.0}])
def test_tiny_asks_for_a_speed_that_a_tiny_encoder_can_give(goal):
    prune = {"kind": "reconstruct", "start": "model", "costs": "costs.json", **goal}
    tiny = shrink(build(changed(stages={"prune": prune}))).stages["prune"]
    # Measured costs are of the whole encoder, which the tiny one refuses.
    assert (tiny.speedup, tiny.latency_ms, tiny.costs) == (1.1, 0, "")


def test_there_is_a_config():
    assert {"quickstart", "paper"} <= {path.stem for path in CONFIGS}


def test_tiny_distilbert_stays_distilbert():
    recipe = build(changed(model={"weights": "hf://distilbert-base-uncased"}))
    assert shrink(recipe).model.sizes["architecture"] == "distilbert"
    assert shrink(build(changed())).model.sizes["architecture"] == "bert"


def test_tiny_replaces_schedules_in_steps_by_shares():
    sparsity = {"begin": 1000, "ramp_end": "50000 steps", "mask_end": "90%", "frequency": 1000}
    tiny = shrink(build(stage(sparsity=sparsity))).stages["prune"].sparsity
    assert (tiny.begin, tiny.ramp_end, tiny.mask_end, tiny.frequency) == (1, "50%", "90%", 1)
    for begin, small in ((0, "0%"), ("1%", 1), ("10%", "10%")):
        tiny = shrink(build(stage(sparsity={"begin": begin}))).stages["prune"].sparsity
        assert tiny.begin == small  # a step before, wherever there is any


def test_tiny_has_blocks_that_divide_its_kernels():
    rules = {"a": {"sparsity": 0.5, "pattern": "24x4"}, "b": {"sparsity": 0.5, "pattern": "heads"}}
    sparsity = {"rules": rules | {"c": 0.5}, "pattern": "64x32"}
    sparsity |= {"score": "fisher_block", "fisher": {"gradients": 9}}
    tiny = shrink(build(stage(sparsity=sparsity))).stages["prune"].sparsity
    assert tiny.pattern == "8x8" and tiny.fisher.gradients == 1
    assert tiny.rules == {"a": RuleSettings(0.5, "8x4"), "b": RuleSettings(0.5, "heads"), "c": 0.5}


def test_tiny_one_shot_stays_one_shot():
    sparsity = {"begin": 0, "ramp_end": 0, "mask_end": 0, "frequency": 1}
    tiny = shrink(build(stage(sparsity=sparsity))).stages["prune"].sparsity
    schedule = (tiny.begin, tiny.ramp_end, tiny.mask_end)
    assert [steps_of(d, steps_per_epoch=9, total=12) for d in schedule] == [0, 0, 0]


def test_to_dict_gives_back_the_recipe():
    recipe = build(changed())
    again = recipe_from_dict(
        {key: value for key, value in to_dict(recipe).items() if key != "name"}, name="test"
    )
    assert isinstance(again, Recipe) and again == recipe


def test_a_kind_that_was_renamed_is_taken_with_a_note(capsys):
    recipe = build(changed(stages={"x": {"kind": "teacher"}, "teacher": {}}))
    assert [stage.kind for stage in recipe.stages.values()] == ["finetune", "finetune"]
    # A stage may be called so; only who writes the kind is told.
    assert capsys.readouterr().err == "x.kind: 'teacher' is now called 'finetune'\n"
