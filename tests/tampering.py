"""Changes of exported files that no check may pass, one function each.

Each takes the bytes of a file and returns other ones, or None where the file has nothing to change
in this way. Its docstring is what a table calls it. The digest in the manifest is no help against
any of them: whoever changes a file can write another digest.
"""

import io
import json
import zipfile

import numpy as np

from tf_prune_ofa.tflite.dense_layers import layer_of_kernel
from tf_prune_ofa.tflite.graph import Graph, schema
from tf_prune_ofa.tflite.packed_files import associated_files

LAYER, OTHER = "encoder_01/ffn/intermediate", "encoder_01/ffn/output"


class Editor(Graph):
    """A file whose constants can be replaced."""

    def named(self, name):
        """The tensor of a name; for a layer's kernel, the first piece of it that is stored."""
        for tensor, entry in enumerate(self.tensors):
            found = self.name(tensor)
            if self.is_constant(tensor) and (found == name or layer_of_kernel(found) == name):
                return tensor, entry
        return None, None

    def stored(self, tensor):
        """A copy of a constant's stored numbers."""
        data = np.asarray(self.model.buffers[self.tensors[tensor].buffer].data, np.uint8)
        return np.frombuffer(data.tobytes(), self.dtype(tensor)).copy()

    def store(self, tensor, values):
        """Replace a constant's stored numbers, in this tensor alone."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self.tensors[tensor].buffer = len(self.model.buffers) - 1
        return self

    def written(self):
        """The bytes, with the text files behind them."""
        return self.to_bytes()


def with_texts(content, texts):
    """A flatbuffer with text files behind it, as the exporter lays them out."""
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text.encode())
    return stream.getvalue()


def flatbuffer_of(content):
    """The part before the zip archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return content[: archive.infolist()[0].header_offset]


def _numbers(content, name, change):
    editor = Editor(content)
    tensor, _ = editor.named(name)
    if tensor is None:
        return None
    values = editor.stored(tensor)
    changed = change(values)
    if changed is None or np.array_equal(changed, values):
        return None
    return editor.store(tensor, changed.astype(values.dtype)).written()


def _scales(content, name, change):
    editor = Editor(content)
    tensor, entry = editor.named(name)
    if tensor is None or editor.dtype(tensor) == np.float32:
        return None
    entry.quantization.scale = change(np.array(entry.quantization.scale))
    # In a sparse layer the runtime reads those of the unpacked kernel.
    for operator in editor.operators:
        if editor.op_name(operator) == "DENSIFY" and operator.inputs[0] == tensor:
            unpacked = editor.tensors[int(operator.outputs[0])]
            unpacked.quantization.scale = entry.quantization.scale
    return editor.written()


# Weights


def pruned_weight(content):
    """a pruned weight made 1 (where zeros are stored)"""

    def change(values):
        zeros = np.flatnonzero(values == 0)
        if len(zeros):
            values = values.copy()
            values[zeros[0]] = 1
        return values

    return _numbers(content, LAYER, change)


def sign(content):
    """a kept weight's sign"""

    def change(values):
        values = values.copy()
        values[np.flatnonzero(values)[5]] *= -1
        return values

    return _numbers(content, LAYER, change)


def smallest_step(content):
    """a kept weight by the smallest step"""

    def change(values):
        values = values.copy()
        place = np.flatnonzero(np.abs(values) < 100)[-1]
        is_float = values.dtype == np.float32
        values[place] = np.nextafter(values[place], np.float32(9)) if is_float else 101
        return values

    return _numbers(content, OTHER, change)


def shuffled(content):
    """all kept weights of a layer shuffled"""

    def change(values):
        values = values.copy()
        kept = np.flatnonzero(values)
        values[kept] = values[np.random.default_rng(0).permutation(kept)]
        return values

    return _numbers(content, OTHER, change)


def exchanged_layers(content):
    """two layers' kernels exchanged"""
    editor = Editor(content)
    one, first = editor.named("encoder_00/attention/value")
    two, second = editor.named("encoder_01/attention/value")
    if editor.tensors[one].sparsity is not None or first.shape.tolist() != second.shape.tolist():
        return None
    first.buffer, second.buffer = second.buffer, first.buffer
    return editor.written()


def moved_index(content):
    """an index of a sparse layer moved"""
    editor = Editor(content)
    for entry in editor.tensors:
        if entry.sparsity is not None:
            indices = entry.sparsity.dimMetadata[-1].arrayIndices
            values = np.array(indices.values)
            free = next(v for v in range(values.max()) if v not in values[:20])
            values[0] = free
            indices.values = values
            return editor.written()
    return None


def one_scale(content):
    """one channel's scale doubled"""
    return _scales(content, LAYER, lambda s: np.where(np.arange(s.size) == 2, 2 * s, s))


def all_scales(content):
    """all scales of a kernel doubled"""
    return _scales(content, OTHER, lambda scales: 2 * scales)


def negative_scale(content):
    """a negative scale"""
    return _scales(content, LAYER, lambda s: np.where(np.arange(s.size) == 1, -s, s))


def doubled_row(content):
    """one output's weights doubled (float)"""

    def change(values):
        if values.dtype != np.float32:
            return None
        rows = values.reshape(256, -1).copy()
        rows[7] *= 2
        return rows.ravel()

    return _numbers(content, LAYER, change)


def bias(content):
    """one bias changed"""

    def change(values):
        values = values.copy()
        values[1] += 1 if values.dtype == np.int32 else 1e-3
        return values

    return _numbers(content, "encoder_00/attention/output/bias", change)


def bias_scale(content):
    """the scales of a bias doubled"""
    return _scales(content, "encoder_00/attention/output/bias", lambda scales: 2 * scales)


# Embeddings, norms, single numbers


def word_rows(content):
    """two word rows exchanged"""
    _, entry = Editor(content).named("embeddings/word/embeddings")

    def change(values):
        rows = values.reshape(entry.shape).copy()
        rows[[7, 8]] = rows[[8, 7]]
        return rows.ravel()

    return _numbers(content, "embeddings/word/embeddings", change)


def word_halves(content):
    """the halves of INT4 words exchanged"""
    editor = Editor(content)
    if not any(editor.op_name(op) == "FLOOR" for op in editor.operators):
        return None
    for operator in editor.operators:
        if editor.op_name(operator) == "CONCATENATION" and len(operator.inputs) == 2:
            operator.inputs = operator.inputs[::-1].copy()
            return editor.written()
    return None


def word_parting(content):
    """INT4 words parted by 8 and 16 in place of 16 and 8"""
    editor = Editor(content)
    tensors = [
        editor.named(f"embeddings/word/embeddings/{name}")[0] for name in ("sixteen", "eight")
    ]
    if None in tensors:
        return None
    for operator in editor.operators:
        for slot, tensor in enumerate(operator.inputs):
            if int(tensor) in tensors:
                operator.inputs[slot] = tensors[1 - tensors.index(int(tensor))]
    return editor.written()


def word_scale(content):
    """a word row's scale changed"""

    def change(values):
        values = values.copy()
        values[9] *= 1.01
        return values

    return _numbers(content, "embeddings/word/embeddings/scales", change)


def shared_row(content):
    """a word given another one's row"""

    def change(values):
        values = values.copy()
        values[20] = values[20] + 1 if values[20] < values.max() else 0
        return values

    return _numbers(content, "embeddings/word/embeddings/rows", change)


def shared_scales(content):
    """scales of words looked up by ids, their numbers by rows"""
    editor = Editor(content)
    table = "embeddings/word/embeddings"
    rows, scales = (editor.named(f"{table}/{name}")[0] for name in ("rows", "scales"))
    if rows is None:
        return None
    lookups = {int(op.inputs[0]): op for op in editor.operators if editor.op_name(op) == "GATHER"}
    lookups[scales].inputs = np.array([scales, lookups[rows].inputs[1]], np.int32)
    return editor.written()


def position(content):
    """a number of a position's row changed"""

    def change(values):
        values = values.copy()
        values[3] = 0 if values[3] else 1
        return values

    return _numbers(content, "embeddings/position/embeddings", change)


def _constants(editor, name, slot, is_wanted):
    for operator in editor.operators:
        if editor.op_name(operator) == name and len(operator.inputs) > slot:
            tensor = int(operator.inputs[slot])
            if editor.is_constant(tensor) and is_wanted(editor.shape(tensor)):
                yield tensor


def norm(content):
    """a weight of a norm changed by a thousandth"""
    editor = Editor(content)
    tensor = next(_constants(editor, "MUL", 1, lambda shape: len(shape) == 1 and shape[0] > 1))
    values = editor.stored(tensor)
    values[4] *= 1.001
    return editor.store(tensor, values).written()


def epsilon(content):
    """the norms' epsilon changed"""
    editor = Editor(content)
    tensor = next(_constants(editor, "ADD", 1, lambda shape: np.prod(shape) == 1))
    return editor.store(tensor, np.float32([1e-3])).written()


def outlier_scales(content):
    """the scale of an outlying channel changed"""

    def change(values):
        values = values.copy()
        values[3] *= 2
        return values

    return _numbers(content, "encoder_00/ffn/output/factors", change)


# Ranges


def _int8_result(content, change):
    editor = Editor(content)
    for operator in editor.operators:
        entry = editor.tensors[int(operator.outputs[0])]
        if editor.op_name(operator) in ("FULLY_CONNECTED", "CONV_2D") and entry.type == 9:
            change(entry.quantization)
            return editor.written()
    return None


def range_scale(content):
    """the scale of a layer's output, by a hundredth"""

    def change(numbers):
        numbers.scale = np.float32(1.01) * numbers.scale

    return _int8_result(content, change)


def zero_point(content):
    """the zero point of a layer's output, by one"""

    def change(numbers):
        numbers.zeroPoint = numbers.zeroPoint + 1

    return _int8_result(content, change)


# Operators


def _operator(content, name, change):
    editor = Editor(content)
    for operator in editor.operators:
        if editor.op_name(operator) == name:
            change(editor, operator)
            return editor.written()
    return None


def activation(content):
    """an activation fused into a sum"""

    def change(editor, operator):
        operator.builtinOptions.fusedActivationFunction = 1

    return _operator(content, "ADD", change)


def softmax(content):
    """another temperature of the softmax"""

    def change(editor, operator):
        operator.builtinOptions.beta = 0.9

    return _operator(content, "SOFTMAX", change)


def gelu(content):
    """the other form of GELU"""

    def change(editor, operator):
        operator.builtinOptions.approximate = True

    return _operator(content, "GELU", change)


def mean(content):
    """a mean over another axis"""

    def change(editor, operator):
        editor.store(int(operator.inputs[1]), np.int32([1]))

    return _operator(content, "MEAN", change)


def residual(content):
    """a residual sum that leaves its layer out"""
    editor = Editor(content)
    sums = [op for op in editor.operators if editor.op_name(op) == "ADD"]
    computed = [op for op in sums if not any(editor.is_constant(t) for t in op.inputs)]
    shaped = [op for op in computed if editor.shape(int(op.inputs[0])) == [1, 16, 32]]
    shaped = shaped or [op for op in computed if editor.shape(int(op.inputs[0])) == [1, 16, 24]]
    operator = shaped[-1]
    operator.inputs[1] = operator.inputs[0]
    return editor.written()


# Text files, description, container


def _texts(content, change):
    texts = associated_files(content)
    before = dict(texts)
    texts = change(texts)
    return None if texts == before else with_texts(flatbuffer_of(content), texts)


def _lines(content, name, change):
    def changed(texts):
        if name not in texts:
            return texts
        lines = change(texts[name].splitlines())
        return texts | {name: "\n".join(lines) + "\n"}

    return _texts(content, changed)


def labels(content):
    """two labels exchanged"""
    return _lines(content, "labels.txt", lambda lines: lines[::-1])


def no_labels(content):
    """the labels removed"""
    return _texts(content, lambda texts: {k: v for k, v in texts.items() if k != "labels.txt"})


def vocabulary(content):
    """two word pieces exchanged"""

    def change(lines):
        return [*lines[:9], lines[10], lines[9], *lines[11:]]

    return _lines(content, "vocab.txt", change)


def reversed_vocabulary(content):
    """the vocabulary reversed"""
    return _lines(content, "vocab.txt", lambda lines: lines[::-1])


def shorter_vocabulary(content):
    """the last word piece removed"""
    return _lines(content, "vocab.txt", lambda lines: lines[:-1])


def no_vocabulary(content):
    """the vocabulary removed"""
    return _texts(content, lambda texts: {k: v for k, v in texts.items() if k != "vocab.txt"})


def case(content):
    """the tokenizer's settings: no lower-casing"""

    def change(texts):
        settings = json.loads(texts["text_settings.json"])
        return texts | {"text_settings.json": json.dumps(settings | {"lower_case": False})}

    return _texts(content, change)


def more_files(content):
    """one more file in the zip part"""
    return _texts(content, lambda texts: texts | {"readme.txt": "hello\n"})


def description(content):
    """the description: inputs by other names"""
    editor = Editor(content)
    said = editor.metadata("TFLITE_METADATA").replace(b"segment_ids", b"segment_idz")
    editor.set_metadata("TFLITE_METADATA", said)
    return editor.written()


def no_description(content):
    """the description removed"""
    editor = Editor(content)
    kept = [e for e in editor.model.metadata if bytes(e.name) != b"TFLITE_METADATA"]
    editor.model.metadata = kept
    return editor.written()


def no_zip(content):
    """the zip part removed"""
    return flatbuffer_of(content)


def cut_zip(content):
    """the last 30 bytes cut off"""
    return content[:-30]


def cut(content):
    """the second half cut off"""
    return content[: len(content) // 2]


def appended(content):
    """70 kB appended"""
    return content + bytes(70_000)


def between(content):
    """70 kB between model and zip part"""
    return with_texts(flatbuffer_of(content) + b"x" * 70_000, associated_files(content))


def hidden(content):
    """70 kB in the model that nothing reads"""
    editor = Editor(content)
    editor.set_metadata("notes", b"x" * 70_000)
    return editor.written()


CHANGES = (
    pruned_weight, sign, smallest_step, shuffled, exchanged_layers, moved_index, one_scale,
    all_scales, negative_scale, doubled_row, bias, bias_scale, word_rows, word_scale, position,
    norm, epsilon, outlier_scales, range_scale, zero_point, activation, softmax, gelu, mean,
    residual, labels, no_labels, vocabulary, reversed_vocabulary, shorter_vocabulary, no_vocabulary,
    case, more_files, description, no_description, no_zip, cut_zip, cut, appended, between, hidden,
)  # fmt: skip
