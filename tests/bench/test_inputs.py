import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.bench.inputs import make_inputs, open_inputs, vocabulary_size
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import flatbuffer


def port_model(name, shape, dtype):
    file = tflite_files.FileBuilder()
    index = file.tensor(name, shape, dtype)
    return flatbuffer.parse_model(file.finish([index], [index]))


def test_ids_stay_inside_the_vocabulary_and_cover_it():
    model = flatbuffer.parse_model(tflite_files.classifier(vocabulary=5, length=200))
    ids, mask = make_inputs(model)
    assert ids.shape == mask.shape == (1, 200) and ids.dtype == mask.dtype == np.int32
    assert set(ids.ravel()) == {0, 1, 2, 3, 4}
    assert (mask == 1).all()


def test_finds_the_table_behind_a_reshape():
    file = tflite_files.FileBuilder()
    ids = file.tensor("ids", [1, 4], np.int32)
    shape = file.tensor("shape", [1], np.int32, data=[4])
    flat = file.tensor("flat", [4], np.int32)
    table = file.tensor("table", [7, 2], np.float32, data=np.zeros((7, 2)))
    output = file.tensor("rows", [4, 2], np.float32)
    file.operator("RESHAPE", [ids, shape], [flat])
    file.operator("GATHER", [table, flat], [output])
    model = flatbuffer.parse_model(file.finish([ids], [output]))
    assert vocabulary_size(model, ids) == 7


def test_type_ids_are_two_sentences():
    (types,) = make_inputs(port_model("input_type_ids", [1, 6], np.int32))
    assert types.tolist() == [[0, 0, 0, 1, 1, 1]]


def test_float_and_int8_inputs_fit_their_type():
    (values,) = make_inputs(port_model("x", [1, 1000], np.float32))
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.2  # six standard errors of 1000 normal numbers
    (values,) = make_inputs(port_model("x", [1, 5000], np.int8))
    # Each end is missed by 5000 draws of 256 values with a chance of 3e-9.
    assert values.dtype == np.int8 and values.min() == -128 and values.max() == 127


def test_the_same_seed_gives_the_same_inputs():
    model = flatbuffer.parse_model(tflite_files.classifier(length=50))
    first, again, other = (make_inputs(model, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_texts_and_types_that_are_not_known():
    model = port_model("text", [2], np.float32)
    model.subgraphs[0].tensors[0].type = tflite_files.schema.TensorType.STRING
    (texts,) = make_inputs(model)
    assert texts.tolist() == ["text", "text"]
    model.subgraphs[0].tensors[0].type = tflite_files.schema.TensorType.COMPLEX64
    with pytest.raises(UserError, match="of type complex64"):
        make_inputs(model)


def test_open_sizes_are_filled_in():
    model = port_model("ids", [1, 1], np.int32)
    model.subgraphs[0].tensors[0].shapeSignature = np.int32([-1, -1])
    assert list(open_inputs(model)) == ["ids"]
    (ids,) = make_inputs(model, sequence_length=12)
    assert ids.shape == (1, 12)
    model.subgraphs[0].tensors[0].shapeSignature = np.int32([-1, 1])
    assert not open_inputs(model)


def test_absurd_shapes_are_refused_before_memory_is_asked_for():
    model = port_model("ids", [2**31 - 1, 2**31 - 1, 7], np.int32)
    with pytest.raises(UserError, match="at most 134,217,728 numbers"):
        make_inputs(model)
