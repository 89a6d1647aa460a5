"""Names of all files in the folder of a run, in one place.

runs/NAME/                           one folder for a recipe, or for several that share stages
    .lock                            held by the process that runs in it
    augmented-DIGEST.npz             texts with replaced words
    workers/NUMBER/                  what processes beside the chief leave; not used
    01_NAME-DIGEST/                  one folder for a stage
        result.json                  settings, versions and figures: the stage is done
        metrics.jsonl                a line for every few steps of training
        teacher_logits.npz           of all training examples
        checkpoint/                  what a killed stage goes on from
        model/                       a Hugging Face folder
        masks.npz                    the pattern, in the folder of the stage that pruned
        ranges.json                  of activations, with their outlier scales
        manifest.json                what the `.tflite` files beside it are
        README.md                    the same for people: their model card
        verify.json, bench.json, report.html
"""

LOCK = ".lock"
WORKERS = "workers"
AUGMENTED = "augmented-{digest}.npz"

RESULT = "result.json"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
TEACHER_LOGITS = "teacher_logits.npz"
CHECKPOINT = "checkpoint"
SPARSITIES = "sparsities.npz"  # of each layer, from a ranking; in the checkpoint
MODEL = "model"
MASKS = "masks.npz"
RANGES = "ranges.json"
OLD_OUTLIER_SCALES = "channel_factors.json"  # where older runs have the outlier scales
MANIFEST = "manifest.json"
CARD = "README.md"
VERIFICATION = "verify.json"
BENCHMARK = "bench.json"
REPORT = "report.html"
