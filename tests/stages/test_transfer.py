import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.stages.transfer import sparse_layers


def kernel(zeros, size=1000):
    values = np.ones(size, np.float32)
    values[:zeros] = 0
    return values.reshape(10, -1)


KERNELS = {
    "encoder_00/ffn/output": kernel(900),
    "encoder_00/ffn/intermediate": kernel(7),
    "encoder_01/ffn/output": kernel(10),
    "pooler": kernel(850),
    "classifier": kernel(0),
}


def test_every_layer_with_a_pattern_is_locked_the_pooler_too(capsys):
    assert sparse_layers((), KERNELS) == [
        "encoder_00/ffn/output",
        "encoder_01/ffn/output",
        "pooler",
    ]
    # Zeros by chance are said, not taken.
    assert "are no pattern: encoder_00/ffn/intermediate (7)" in capsys.readouterr().out


def test_layers_that_are_named_are_locked_however_few_their_zeros(capsys):
    named = sparse_layers(("encoder_00/.*",), KERNELS)
    assert named == ["encoder_00/ffn/output", "encoder_00/ffn/intermediate"]
    assert (
        "where transfer.locked says so: encoder_00/ffn/intermediate (7)" in capsys.readouterr().out
    )


@pytest.mark.parametrize("zeros", [0, 7])
def test_without_a_pattern_there_is_nothing_to_lock(zeros):
    with pytest.raises(UserError, match=f"in 2 of 2 layers: at most {zeros / 1000:.2%} of a layer"):
        sparse_layers((), {"pooler": kernel(zeros), "encoder_00/ffn/output": kernel(0)})
