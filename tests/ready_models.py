"""Make a ready model static INT8 by tools/export.py, and compare its files with its float file.

    python tests/ready_models.py --model=FOLDER --task=TASK.yaml [--texts=300] [--dev=0]

Prints score, agreement, correlation and difference of each file on the task's held-out examples.
The texts to measure on are the task's training examples, without labels.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tf_prune_ofa.data.batches import model_inputs
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.models.hf_config import read_config
from tf_prune_ofa.recipe import recipe_from_dict
from tf_prune_ofa.text.wordpiece import tokenizer_settings
from tf_prune_ofa.text_table import text_table
from tf_prune_ofa.train.evaluate import NOWHERE
from tf_prune_ofa.verification.behaviour import relative_difference
from tf_prune_ofa.verification.running import run_file
from tf_prune_ofa.yaml_files import read_yaml

TOOL = Path(__file__).parents[1] / "tools" / "export.py"
VARIANTS = ("float32", "dynamic_int8", "dense_int8")


def open_task(model, task, dev):
    """The task with the model's own tokenizer."""
    data = {
        "model": {"weights": str(model)},
        "task": {**read_yaml(Path(task)), "dev_limit": dev},
        "stages": {"task_teacher": {"kind": "finetune", "start": "model"}},
    }
    return RecipeInputs(recipe_from_dict(data, name="ready"))


def write_texts(inputs, count, path):
    """Write training examples, one a line; return whether they are pairs."""
    split = inputs.task.train.take(count)
    if hasattr(split, "questions"):
        pairs = [(question.text, question.context) for question in split.questions]
    elif split.text_b:
        pairs = list(zip(split.text_a, split.text_b, strict=True))
    else:
        pairs = [(text,) for text in split.text_a]
    lines = ["\t".join(" ".join(text.split()) for text in pair) for pair in pairs]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(pairs[0]) > 1


def compare(inputs, folder, length):
    """Rows of the table, the float file first."""
    kind, wordpiece = inputs.kind, inputs.wordpiece
    split = kind.encode(inputs.task.dev, wordpiece, length=length)
    types = split.tokens.type_ids if inputs.encoder.family.token_types else None
    arrays = model_inputs(
        split.tokens.ids, types, max_length=length, multiple=length, pad_id=wordpiece.pad_id
    )
    rows, reference = [], None
    for variant in VARIANTS:
        outputs = run_file(folder / f"{variant}_s{length}.tflite", arrays, threads=1)
        logits = np.stack(
            [
                kind.file_logits({name: value[i : i + 1] for name, value in outputs.items()}, mask)
                for i, mask in enumerate(arrays["input_mask"])
            ]
        )
        reference = logits if reference is None else reference
        is_real = reference > NOWHERE
        # Of each output by itself: that of a class, or of an end.
        correlations = [
            np.corrcoef(logits[:, i][is_real[:, i]], reference[:, i][is_real[:, i]])[0, 1]
            for i in range(logits.shape[1])
        ]
        scores = kind.score(logits, split)
        agreement = kind.agreement(logits, reference, split)
        difference = relative_difference(logits[is_real], reference[is_real])
        rows.append(
            [variant, *(f"{100 * value:.2f}" for value in scores.values())]
            + [f"{100 * value:.1f}" for value in agreement.values()]
            + [f"{min(correlations):.4f}", f"{difference:.3f}"]
        )
    columns = ["file", *scores, *(name.replace("_", " ") for name in agreement)]
    return kind.count(split), [*columns, "least correlation", "difference"], rows


def main():
    """Export and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--dev", type=int, default=0, help="held-out examples; 0 for all")
    parser.add_argument("--attention", default="int8")
    flags = parser.parse_args()
    inputs = open_task(flags.model, flags.task, flags.dev)
    length = inputs.recipe.task.max_length
    config = read_config(flags.model)
    print(f"L{config.num_layers}-H{config.hidden_size}, {tokenizer_settings(flags.model)}")
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.txt"
        is_pairs = write_texts(inputs, flags.texts, texts)
        command = [sys.executable, str(TOOL), f"--model={flags.model}", f"--out={folder}/out"]
        command += [f"--calibration_texts={texts}", f"--sequence_length={length}"]
        command += [f"--variants={','.join(VARIANTS)}", f"--attention={flags.attention}"]
        done = subprocess.run(
            [*command, *(["--calibration_pairs"] if is_pairs else [])],
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout)
        if done.returncode:
            sys.exit(f"exit code {done.returncode}: {done.stderr[-3000:]}")
        count, columns, rows = compare(inputs, Path(folder) / "out", length)
    print(f"{count} held-out examples")
    print(text_table(columns, rows))


if __name__ == "__main__":
    main()
