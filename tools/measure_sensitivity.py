"""Measure what pruning each layer alone does to a trained model's outputs.

    measure_sensitivity.py --recipe=FILE --stage=task_teacher --out=sensitivity.json
                           [--run_dir=DIR] [--set=stage.key=value]... [--batches=8]
                           [--rule='encoder_.*=64x32']... [--levels=0.5,0.75,0.9]

Each layer (heads and neurons: each set of them) is pruned by magnitude to each level while all
others stay dense; the loss is how far the outputs move, on the first batches that the stage trained
on. The file is for `allocate_sparsity --sensitivity`, with the same rules and levels.
"""

from pathlib import Path

from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tools._levels import read_levels, read_rules
from tf_prune_ofa.tools._main import run

_RECIPE = flags.DEFINE_string("recipe", None, "recipe that has been run", required=True)
_STAGE = flags.DEFINE_string("stage", None, "training stage whose model it is", required=True)
_OUT = flags.DEFINE_string("out", None, "JSON file to write", required=True)
_RUN_DIR = flags.DEFINE_string("run_dir", None, "folder of the run; default runs/<recipe's name>")
_SET = flags.DEFINE_multi_string("set", [], "override as the run had it; may be repeated")
_TINY = flags.DEFINE_boolean("tiny", False, "the run was a tiny one")
_BATCHES = flags.DEFINE_integer("batches", 8, "batches to judge by", lower_bound=1)
_RULE = flags.DEFINE_multi_string(
    "rule", ["encoder_.*=64x32"], "layers and their pattern; may be repeated"
)
_LEVELS = flags.DEFINE_list(
    "levels", "0,0.5,0.6,0.7,0.75,0.8,0.85,0.9,0.95".split(","), "sparsities to try"
)


def main(argv: list[str]) -> None:
    """Measures and writes."""
    from tf_prune_ofa.config import TrainSettings
    from tf_prune_ofa.recipe import load_recipe

    if len(argv) > 1:
        raise UserError(f"unexpected arguments {argv[1:]}; write --recipe=FILE --stage=NAME")
    levels, rules = read_levels(_LEVELS.value), read_rules(_RULE.value)
    recipe = load_recipe(_RECIPE.value, _SET.value, tiny=_TINY.value)
    settings = recipe.stages.get(_STAGE.value)
    if not isinstance(settings, TrainSettings):
        trained = [n for n, stage in recipe.stages.items() if isinstance(stage, TrainSettings)]
        raise UserError(
            f"--stage={_STAGE.value} is no training stage of this recipe; it has "
            f"{', '.join(trained)}"
        )
    # TensorFlow is slow to load: a wrong flag, or --help, should answer at once.
    from tf_prune_ofa.jobs.training import TrainingJob
    from tf_prune_ofa.json_files import write_json
    from tf_prune_ofa.models.bert import dense_kernels
    from tf_prune_ofa.pruning.allocation import named_sites
    from tf_prune_ofa.pruning.sensitivity import output_losses
    from tf_prune_ofa.stages.runner import open_run

    run_dir = Path(_RUN_DIR.value or Path("runs") / recipe.name)
    context = open_run(recipe, run_dir, last=_STAGE.value)
    job = TrainingJob(settings, context)
    model = job.load(_STAGE.value, is_trained=False)
    shapes = {name: tuple(kernel.shape) for name, kernel in dense_kernels(model).items()}
    heads = job.recipe_inputs.encoder.num_heads
    batches = job.calibration_inputs(_BATCHES.value)
    found = {}
    for named in named_sites(rules, shapes, levels, heads=heads):
        losses = output_losses(model, batches, named.site, levels)
        found[named.key] = {f"{sparsity:g}": loss for sparsity, loss in losses.items()}
        print(named.key, ", ".join(f"{loss:.3g}" for loss in losses.values()), flush=True)
    write_json(_OUT.value, found)
    print(f"\nWritten to {_OUT.value}")


if __name__ == "__main__":
    run(main)
