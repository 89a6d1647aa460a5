import numpy as np
import pytest
from exported_models import CONFIG, make_examples

from tf_prune_ofa.conversion import int8, watch
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite.graph import Graph


def test_dense_layers_of_a_float_file(float32_file, run_bytes):
    content, watched = watch.watch_dense_layers(float32_file)
    assert watched["encoder_00/attention/query"][1] == 0.25
    assert watched["encoder_00/attention/key"][1] == 1
    outputs = run_bytes(content, **next(make_examples(1)))
    assert {name for name, _ in watched.values()} == set(outputs)
    # Four inputs (attention, its output, both feed-forward layers) and six outputs; at the end
    # input and output of pooler and classifier.
    assert len(outputs) == 10 * CONFIG.num_layers + 4


def test_int8_layers(dense_file, run_bytes):
    outputs = run_bytes(watch.watch_int8_layers(dense_file), **next(make_examples(1)))
    assert len(outputs) == len(int8.int8_layers(dense_file))
    assert all(value.dtype == np.int8 for value in outputs.values())


def test_a_file_without_int8_layers(float32_file):
    for content in (float32_file, int8.dynamic_int8(float32_file)):
        with pytest.raises(UserError, match="no static INT8 layers"):
            watch.watch_int8_layers(content)


def test_the_graph_itself_is_the_same(dense_file):
    before, after = Graph(dense_file), Graph(watch.watch_int8_layers(dense_file))
    names = [[g.op_name(op) for op in g.operators] for g in (before, after)]
    assert names[0] == names[1]
