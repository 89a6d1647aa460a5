"""Small `.tflite` files that take text, made without TensorFlow: each token has its own scores."""

import numpy as np
import tflite_files
from ai_edge_litert import schema_py_generated as schema

from tf_prune_ofa.tflite import metadata

# Ids 0 to 19, in order.
PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] the film is good bad ##ly a by ann in may . ? who wrote"
).split()


def classifier(length=12, settings=None, labels=("bad", "good"), outputs="logits"):
    """A classifier: the mean over all positions of what each word piece says for each class."""
    scores = np.zeros([len(PIECES), len(labels)], np.float32)
    scores[PIECES.index("bad"), 0] = scores[PIECES.index("good"), -1] = length
    file, ids, mask, types = _inputs(length)
    table = file.tensor("scores", scores.shape, np.float32, data=scores)
    each = file.tensor("each", [1, length, len(labels)], np.float32)
    logits = file.tensor(outputs, [1, len(labels)], np.float32)
    file.operator("GATHER", [table, ids], [each], options=schema.GatherOptionsT())
    axis = file.tensor("axis", [1], np.int32, data=[1])
    file.operator("MEAN", [each, axis], [logits], options=schema.ReducerOptionsT())
    content = file.finish([ids, mask, types], [logits])
    names = list(labels) if len(labels) > 1 else None
    return metadata.attach(content, PIECES, names, settings)


def span(length=16, settings=None, start="ann", end="may"):
    """A model for answers that begin with one word piece and end with another."""
    file, ids, mask, types = _inputs(length)
    outputs = []
    for name, piece in (("start", start), ("end", end)):
        scores = np.linspace(-1, 0, len(PIECES), dtype=np.float32)
        scores[PIECES.index(piece)] = 5
        scores[PIECES.index("[CLS]")] = -0.5
        table = file.tensor(f"{name}_scores", [len(PIECES)], np.float32, data=scores)
        logits = file.tensor(f"{name}_logits", [1, length], np.float32)
        file.operator("GATHER", [table, ids], [logits], options=schema.GatherOptionsT())
        outputs.append(logits)
    return metadata.attach(file.finish([ids, mask, types], outputs), PIECES, None, settings)


def tagger(length=16, settings=None, entity="ann", kind="person"):
    """A model for entities: one word piece is one."""
    scores = np.zeros([len(PIECES), 3], np.float32)
    scores[:, 0] = 1
    scores[PIECES.index(entity), 1] = 5
    file, ids, mask, types = _inputs(length)
    table = file.tensor("scores", scores.shape, np.float32, data=scores)
    logits = file.tensor("tag_logits", [1, length, 3], np.float32)
    file.operator("GATHER", [table, ids], [logits], options=schema.GatherOptionsT())
    content = file.finish([ids, mask, types], [logits])
    return metadata.attach(content, PIECES, ["O", f"B-{kind}", f"I-{kind}"], settings)


def _inputs(length):
    file = tflite_files.FileBuilder()
    names = ("input_word_ids", "input_mask", "input_type_ids")
    return file, *(file.tensor(name, [1, length], np.int32) for name in names)
