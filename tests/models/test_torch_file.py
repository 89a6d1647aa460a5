"""A pytorch_model.bin is read as tensors; whatever else is in it is refused, and never run."""

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models.torch_file import read_torch_file


class Storage:
    """Pickled as a reference to an entry of the archive, as torch does it."""

    def __init__(self, key, kind, count):
        self.key, self.kind, self.count = key, kind, count


class Global:
    """Pickled as the name of something in a module."""

    def __init__(self, name):
        self.name = name


class Call:
    """Pickled as a call of a global."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Pickler(pickle._Pickler):
    """Writes names of torch's functions without torch."""

    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", Global(f"torch {value.kind}"), value.key, "cpu", value.count)
        return None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Global):
            module, name = value.name.split(" ")
            return self.write(f"c{module}\n{name}\n".encode())
        if isinstance(value, Call):
            self.save(Global(value.function))
            self.save(value.arguments)
            return self.write(pickle.REDUCE)
        return super().save(value, save_persistent_id)


def tensor(key, shape, *, kind="FloatStorage", count=None, offset=0, strides=None):
    size = int(np.prod(shape))
    strides = strides or tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    storage = Storage(key, kind, size if count is None else count)
    rest = (False, collections.OrderedDict())
    return Call("torch._utils _rebuild_tensor_v2", storage, offset, tuple(shape), strides, *rest)


def write(path, content, entries, *, compression=zipfile.ZIP_STORED, order=b"little"):
    stream = io.BytesIO()
    Pickler(stream, 2).dump(content)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/byteorder", order)
        for key, data in entries.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pytorch_model.bin"


def read(path):
    return dict(read_torch_file(path, "Convert it."))


VALUES = np.arange(12, dtype=np.float32)


def test_tensors(path):
    half = VALUES.astype(np.float16)
    brain = (VALUES.view(np.uint32) >> 16).astype(np.uint16)
    content = collections.OrderedDict(
        plain=tensor("0", (3, 4)),
        turned=tensor("0", (4, 3), strides=(1, 4)),
        part=tensor("0", (2,), count=12, offset=10),
        half=tensor("1", (12,), kind="HalfStorage"),
        brain=tensor("2", (12,), kind="BFloat16Storage"),
        ids=tensor("3", (1, 2), kind="LongStorage"),
        parameter=Call("torch._utils _rebuild_parameter", tensor("0", (12,)), True, {}),
        empty=tensor("4", (0, 5)),
        scalar=tensor("5", ()),
    )
    entries = {"0": VALUES, "1": half, "2": brain, "3": np.array([7, 8]), "4": VALUES[:0],
               "5": VALUES[3:4]}  # fmt: skip
    found = read(write(path, content, {k: bytes(np.array(v).data) for k, v in entries.items()}))
    np.testing.assert_array_equal(found["plain"], VALUES.reshape(3, 4), strict=True)
    np.testing.assert_array_equal(found["turned"], VALUES.reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], VALUES[10:])
    np.testing.assert_array_equal(found["half"], half, strict=True)
    np.testing.assert_array_equal(found["brain"], VALUES)  # small whole numbers are exact
    assert found["ids"].tolist() == [[7, 8]] and found["ids"].dtype == np.int64
    np.testing.assert_array_equal(found["parameter"], VALUES)
    assert found["empty"].shape == (0, 5) and found["scalar"].shape == ()
    assert list(found) == list(content)


def test_what_training_saves_around_the_tensors(path):
    inner = {"a": tensor("0", (12,))}
    write(path, {"epoch": 3, "state_dict": inner}, {"0": VALUES.tobytes()})
    np.testing.assert_array_equal(read(path)["a"], VALUES)


@pytest.mark.parametrize(
    "function", ["os system", "builtins eval", "posix system", "torch.serialization load",
                 "numpy.core.multiarray _reconstruct", "builtins getattr", "torch._utils open"]
)  # fmt: skip
def test_code_is_not_run(path, function, tmp_path):
    proof = tmp_path / "proof"
    call = Call(function, f"touch {proof}")
    write(path, {"a": tensor("0", (12,)), "b": call}, {"0": VALUES.tobytes()})
    with pytest.raises(UserError, match=f"asks for {function.replace(' ', '.')}.*nothing of it"):
        read(path)
    assert not proof.exists()


def test_code_of_a_real_pickle_is_not_run(path, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'proof'}",)

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Evil()}))
    with pytest.raises(UserError, match="nothing of it was run"):
        read(path)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (tensor("0", (13,)), "does not fit the numbers"),
        (tensor("0", (12,), offset=1), "does not fit the numbers"),
        (tensor("0", (2, 6), strides=(10, 1)), "does not fit the numbers"),
        (tensor("0", (10**6, 12), count=12, strides=(0, 1)), "repeats numbers"),
        (tensor("0", (2, -6), count=12, strides=(6, 1)), "describes a tensor"),
        (tensor("9", (12,)), "damaged"),
        (tensor("0", (12,), kind="QInt8Storage"), "asks for torch.QInt8Storage"),
        (3, "more than tensors: a"),
    ],
)
def test_tensors_that_are_not_there(path, wrong, message):
    with pytest.raises(UserError, match=message):
        read(write(path, {"a": wrong}, {"0": VALUES.tobytes()}))


def test_other_files(path):
    numbers = {"0": VALUES.tobytes()}
    with pytest.raises(UserError, match="compressed"):
        read(write(path, {"a": tensor("0", (12,))}, numbers, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(UserError, match="byte order"):
        read(write(path, {"a": tensor("0", (12,))}, numbers, order=b"big"))
    for content in ([1, 2], {3: tensor("0", (12,))}, {}, "text"):
        with pytest.raises(UserError, match="pytorch_model.bin: it holds"):
            read(write(path, content, numbers))


@pytest.mark.parametrize("damage", [b"PK\x03\x04junk", b"", b"\x80\x02}q\x00."])
def test_damaged_and_old_files(path, damage):
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r"older than PyTorch 1\.6.*\nConvert it\."):
        read(path)


def test_every_cut_is_noticed(path):
    whole = write(path, {"a": tensor("0", (12,))}, {"0": VALUES.tobytes()}).read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError):
            read(path)
