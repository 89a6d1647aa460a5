"""Files whose operators read and write what they cannot: a runtime would crash on them."""

import numpy as np
import pytest
import tflite_files

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import flatbuffer


def add_two(change=lambda file, x, y, two: None, inputs=None, outputs=None):
    """y = x + 2, damaged."""
    file = tflite_files.FileBuilder()
    x = file.tensor("x", [1], np.float32)
    two = file.tensor("two", [1], np.float32, data=[2.0])
    y = file.tensor("y", [1], np.float32)
    file.operator("ADD", [x, two], [y])
    change(file.model.subgraphs[0].operators[0], x, y, two)
    names = {"x": x, "two": two, "y": y, "none": -1}
    return file.finish([names[n] for n in inputs or ["x"]], [names[n] for n in outputs or ["y"]])


def test_a_sound_file_is_read():
    flatbuffer.parse_model(add_two())
    # A constant may be an output, and nothing has to read an input.
    flatbuffer.parse_model(add_two(outputs=["two"]))


def left_out(operator, x, y, two):
    operator.inputs = np.int32([x, -1])


def cut(operator, x, y, two):
    operator.inputs = np.int32([x])


def writes_a_constant(operator, x, y, two):
    operator.outputs = np.int32([two])


def reads_itself_only(operator, x, y, two):
    operator.outputs = np.int32([x])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"change": left_out}, "operator 0, ADD, has 1 of the 2 inputs it needs"),
        ({"change": cut}, "operator 0, ADD, has 1 of the 2 inputs it needs"),
        ({"change": writes_a_constant}, "operator 0 writes tensor 1, which is a constant"),
        ({"change": reads_itself_only}, "tensor 2 is an output of the graph, and nothing writes"),
        ({"inputs": ["two"]}, "tensor 1 is an input of the graph, and a constant"),
        ({"inputs": ["y"]}, "operator 0, ADD, reads tensor 0, which nothing writes"),
        ({"inputs": ["x", "none"]}, "an input of the graph is left out"),
        ({"outputs": ["none"]}, "an output of the graph is left out"),
    ],
)
def test_what_a_runtime_would_crash_on_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        flatbuffer.parse_model(add_two(**arguments))


def test_an_optional_input_may_be_left_out():
    file = tflite_files.FileBuilder()
    x = file.tensor("x", [1, 2], np.float32)
    kernel = file.tensor("kernel", [2, 2], np.float32, data=np.ones(4))
    y = file.tensor("y", [1, 2], np.float32)
    file.operator("FULLY_CONNECTED", [x, kernel, -1], [y])
    flatbuffer.parse_model(file.finish([x], [y]))
