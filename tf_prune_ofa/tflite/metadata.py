"""TFLite metadata: what lets a task library take a .tflite file and raw text.

The metadata is a flatbuffer of its own, stored in the file under the name TFLITE_METADATA;
vocabulary and labels are a zip archive behind the file. With both, MediaPipe's TextClassifier
tokenizes, runs and names labels by itself. Only the few tables that a text classifier needs are
written, so no further package is needed; table and field numbers are those of the public schema
(version 1.1.0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import guard
from tf_prune_ofa.tflite.graph import Graph, schema
from tf_prune_ofa.tflite.packed_files import LABELS_FILE, TOKENIZER_FILE, VOCAB_FILE
from tf_prune_ofa.tflite.text_settings import SETTINGS_FILE, TextSettings

_ENTRY_NAME = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.1.0"
# What MediaPipe looks the three inputs up by; the tensors' own names do not matter to it.
_INPUT_ROLES = {"input_word_ids": "ids", "input_mask": "mask", "input_type_ids": "segment_ids"}

# Enumerations of the schema.
_DESCRIPTIONS, _AXIS_LABELS, _VOCABULARY = 1, 2, 5
_FEATURE_PROPERTIES = 1
_BERT_TOKENIZER = 4


def attach(
    file: bytes,
    vocab: Sequence[str] | Mapping[str, Any],
    labels: Sequence[str] | None = None,
    settings: TextSettings | None = None,
) -> bytes:
    """Add vocabulary, labels and the description that task libraries read. The last pass.

    A file without `input_type_ids` (DistilBERT) gets that input, unused: MediaPipe takes BERT files
    with exactly three. MediaPipe's tokenizer lower-cases; for a cased vocabulary the metadata names
    the right files, but that library's ids will differ.

    Args:
        file: a .tflite file of this package.
        vocab: word pieces, where the position is the id; of a tokenizer of another kind, which
            task libraries do not know, the content of its tokenizer.json.
        labels: name of each class, in the order of the logits; None for other heads.
        settings: how texts become ids and logits answers, for our own runtime classes; None
            leaves them to the vocabulary's case and BERT's ways.

    Raises:
        UserError: word pieces that BERT needs are missing, or labels do not fit the outputs.
    """
    graph = Graph(file)
    _check(graph, None if isinstance(vocab, Mapping) else vocab, labels)
    _add_unused_type_ids(graph)
    if isinstance(vocab, Mapping):
        files = {TOKENIZER_FILE: json.dumps(vocab, ensure_ascii=False) + "\n"}
    else:
        files = {VOCAB_FILE: _lines(vocab)}
    if labels:
        files[LABELS_FILE] = _lines(labels)
    if settings:
        inputs, _ = graph.signature()
        length = graph.shape(inputs["input_word_ids"])[-1]
        files[SETTINGS_FILE] = settings.for_length(length).to_json()
    graph.set_metadata(_ENTRY_NAME, _describe(graph, labels, list(files)))
    # Those of an earlier call are replaced; whatever else the file carries stays.
    ours = [VOCAB_FILE, LABELS_FILE, SETTINGS_FILE, TOKENIZER_FILE]
    graph.packed = graph.packed.without(ours).with_files(
        {name: text.encode() for name, text in files.items()}
    )
    content = graph.to_bytes()
    guard.check(content)
    return content


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"


def _check(graph: Graph, vocab: Sequence[str] | None, labels: Sequence[str] | None) -> None:
    broken = [line for line in [*(labels or ()), *(vocab or ())] if "\n" in line or "\r" in line]
    if broken or "" in (labels or ()):
        what = f"{broken[0]!r} has a line's end" if broken else "one label is empty"
        raise UserError(
            f"{what}, and labels and word pieces are packed a line each: all behind it would be "
            "those of other numbers. Give it another name."
        )
    if vocab is not None:
        missing = [p for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if p not in vocab]
        if missing:
            raise UserError(
                f"the vocabulary of {len(vocab)} word pieces lacks {', '.join(missing)}. Give the "
                "vocab.txt that the model was trained with."
            )
    outputs = graph.signature()[1]
    if labels:
        widths = {name: graph.shape(tensor)[-1] for name, tensor in outputs.items()}
        if list(widths.values()) != [len(labels)]:
            raise UserError(
                f"{len(labels)} labels ({', '.join(labels)}) were given for a file with the "
                f"outputs {', '.join(f'{name} of {width}' for name, width in widths.items())}. "
                "Labels are for a classifier with one output, one label for each number."
            )


def _add_unused_type_ids(graph: Graph) -> None:
    inputs, _ = graph.signature()
    if "input_type_ids" in inputs:
        return
    shape = graph.shape(inputs["input_word_ids"])
    tensor = graph.add_tensor("input_type_ids", shape, np.int32)
    graph.subgraph.inputs = np.append(graph.subgraph.inputs, np.int32(tensor))
    for definition in graph.model.signatureDefs or []:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = "input_type_ids", tensor
        definition.inputs.append(entry)


def _describe(graph: Graph, labels: Sequence[str] | None, packed: Sequence[str]) -> bytes:
    """Return the metadata flatbuffer.

    A table is written as {field number: value}, a vector as a list; numbers are enumerations.
    """
    inputs, outputs = graph.signature()
    content = {0: _FEATURE_PROPERTIES, 1: {}}
    vocab_file = {0: VOCAB_FILE, 1: "Word pieces; the line is the id.", 2: _VOCABULARY}
    tokenizer = {0: _BERT_TOKENIZER, 1: {0: [vocab_file]}}
    input_tensors = [{0: _INPUT_ROLES.get(name, name), 3: content} for name in inputs]
    output_tensors = [{0: name, 3: content} for name in outputs]
    # Of a tagger they are for our own classes: others would take its first token's numbers.
    is_classifier = bool(labels) and len(graph.shape(next(iter(outputs.values())))) == 2
    if is_classifier:
        output_tensors[0][6] = [{0: LABELS_FILE, 1: "Class names.", 2: _AXIS_LABELS}]
    subgraph: dict[int, Any] = {2: input_tensors, 3: output_tensors}
    if VOCAB_FILE in packed:
        subgraph[5] = [tokenizer]
    model = {
        0: "BERT text model",
        1: "Sparse pre-trained BERT, quantized for LiteRT.",
        3: [subgraph],
        7: _MIN_PARSER_VERSION,
    }
    more = {
        SETTINGS_FILE: "Case, accents and windows, for tf_prune_ofa's own classes.",
        TOKENIZER_FILE: "The tokenizer, for tf_prune_ofa's own classes.",
    }
    if named := [{0: name, 1: more[name], 2: _DESCRIPTIONS} for name in packed if name in more]:
        model[6] = named
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, model), _IDENTIFIER)
    return bytes(builder.Output())


def _write(builder: flatbuffers.Builder, value: Any) -> int:
    """Write a string, a vector of tables or a table, and return its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, list):
        offsets = [_write(builder, item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    # Parts come before the table that refers to them.
    parts = {n: _write(builder, part) for n, part in value.items() if not isinstance(part, int)}
    builder.StartObject(max(value, default=-1) + 1)
    for number, part in value.items():
        if number in parts:
            builder.PrependUOffsetTRelativeSlot(number, parts[number], 0)
        else:
            builder.PrependUint8Slot(number, part, 0)
    return builder.EndObject()
