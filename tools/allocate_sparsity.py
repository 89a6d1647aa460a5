"""Choose each layer's sparsity for a speed-up or an average, and print rules for a recipe.

    allocate_sparsity.py --model=FOLDER (--speedup=2.5 | --sparsity=0.8)
                         [--rule='encoder_.*=64x32']... [--levels=0,0.5,0.75,0.9]
                         [--sequence_length=128] [--cost_table=FILE] [--sensitivity=FILE]

Time is that of the pruned layers, from a cost table (shipped, or measured by `sparsify_tflite
--measure`). What a layer loses is its pruned squared weights over its kept ones, or what a
sensitivity file says that `measure_sensitivity` wrote. Each --rule is layers=pattern; of several,
the last match wins.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from tf_prune_ofa.blocks.cost import DEFAULT_TABLE, read_table
from tf_prune_ofa.blocks.mask_cost import masks_us
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text_table import text_table
from tf_prune_ofa.tools._levels import read_levels, read_rules
from tf_prune_ofa.tools._main import run

_MODEL = flags.DEFINE_string(
    "model", None, "a model's folder, or a name as for model.weights in a recipe", required=True
)
_RULE = flags.DEFINE_multi_string(
    "rule", ["encoder_.*=64x32"], "layers and their pattern; may be repeated"
)
_SPEEDUP = flags.DEFINE_float("speedup", None, "how many times faster the pruned layers should be")
_SPARSITY = flags.DEFINE_float("sparsity", None, "average sparsity of the pruned layers, in [0, 1)")
_LEVELS = flags.DEFINE_list(
    "levels", "0,0.5,0.6,0.7,0.75,0.8,0.85,0.9,0.95".split(","), "sparsities that a layer may have"
)
_LENGTH = flags.DEFINE_integer("sequence_length", 128, "tokens of an example", lower_bound=1)
_TABLE = flags.DEFINE_string("cost_table", None, "costs on the machine that the file is for (JSON)")
_SENSITIVITY = flags.DEFINE_string("sensitivity", None, "losses by rule and sparsity (JSON)")


def main(argv: list[str]) -> None:
    """Chooses and prints."""
    if len(argv) > 1:
        raise UserError(f"unexpected arguments {argv[1:]}; write --model=FOLDER --speedup=2")
    if (_SPEEDUP.value is None) == (_SPARSITY.value is None):
        raise UserError("give either --speedup or --sparsity")
    if _SPEEDUP.value is not None and not _SPEEDUP.value >= 1:
        raise UserError(f"--speedup must be 1 or more, got {_SPEEDUP.value}")
    if _SPARSITY.value is not None and not 0 <= _SPARSITY.value < 1:
        raise UserError(f"--sparsity must be in [0, 1), got {_SPARSITY.value}")
    sparsities = read_levels(_LEVELS.value)
    sensitivity = _read_sensitivity(_SENSITIVITY.value) if _SENSITIVITY.value else None
    table = read_table(_TABLE.value) if _TABLE.value else DEFAULT_TABLE
    # What follows loads TensorFlow; a wrong flag, or --help, should answer at once.
    from tf_prune_ofa.models.presets import open_pretrained
    from tf_prune_ofa.pruning.allocation import Level, allocate, named_sites, site_levels

    source = open_pretrained(_MODEL.value)
    kernels = {
        name.removesuffix("/kernel"): value
        for name, value in source.read_weights().items()
        if name.endswith("/kernel")
    }
    shapes = {name: kernel.shape for name, kernel in kernels.items()}
    sites = named_sites(read_rules(_RULE.value), shapes, sparsities, heads=source.config.num_heads)
    levels: dict[str, list[Level]] = {}
    for named in sites:

        def cost(masks: Mapping[str, np.ndarray], pattern: str = named.pattern) -> float:
            if _SPARSITY.value is not None:
                return float(sum(mask.sum() for mask in masks.values()))
            return masks_us(masks, pattern, table, _LENGTH.value)

        found = site_levels(named.site, kernels, sparsities, cost)
        if sensitivity is not None:
            found = [
                Level(level.sparsity, level.cost, _loss(sensitivity, named.key, level.sparsity))
                for level in found
            ]
        levels[named.key] = found
    dense = sum(row[0].cost for row in levels.values())
    share = 1 / _SPEEDUP.value if _SPEEDUP.value is not None else 1 - _SPARSITY.value
    chosen = allocate(levels, dense * share)
    print("sparsity:\n  rules:")
    for named, level in zip(sites, chosen.values(), strict=True):
        print(f"    {named.key}: {{sparsity: {level.sparsity:g}, pattern: '{named.pattern}'}}")
    print(f"\n{_comparison(levels, chosen, dense, share)}")


def _comparison(levels: Mapping[str, Sequence], chosen: Mapping, dense: float, share: float) -> str:
    """Return a table of the choice beside the least uniform sparsity that meets the target."""
    rows = [("chosen", list(chosen.values()))]
    for index in range(len(next(iter(levels.values())))):
        uniform = [row[index] for row in levels.values()]
        if sum(level.cost for level in uniform) <= dense * share:
            rows.append((f"{uniform[0].sparsity:g} in all layers", uniform))
            break
    cells = [
        [name, f"{sum(x.cost for x in row) / dense:.3f}", f"{sum(x.loss for x in row):.4g}"]
        for name, row in rows
    ]
    unit = "time" if _SPEEDUP.value is not None else "weights"
    return text_table(["", f"{unit} to dense", "sum of losses"], cells, left=(0,))


def _read_sensitivity(path: str) -> dict[str, dict[float, float]]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {
            str(name): {float(sparsity): float(loss) for sparsity, loss in losses.items()}
            for name, losses in content.items()
        }
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} is no sensitivity file ({error}); it is {{layer: {{sparsity: loss}}}} in JSON"
        ) from error


def _loss(sensitivity: Mapping[str, Mapping[float, float]], key: str, sparsity: float) -> float:
    losses = {0.0: 0.0, **sensitivity.get(key, {})}
    if sparsity not in losses:
        raise UserError(
            f"the sensitivity file has no loss of '{key}' at sparsity {sparsity:g}; it has "
            f"{', '.join(f'{s:g}' for s in losses)}. Measure it, or give --levels"
        )
    return losses[sparsity]


if __name__ == "__main__":
    run(main)
