import json
import subprocess
import sys

import numpy as np
import pytest
from small_models import ENCODER

from tf_prune_ofa import encoders
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models import bert, finding, huggingface, packed, presets, shipped
from tf_prune_ofa.models.packed import pack, read_packed, unpack, write_packed

ABOUT = {"name": "tiny_sparse", "version": "1", "base": "tiny"}


def dense(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "embeddings/word/embeddings": (9, 4),
        "encoder_00/ffn/output/kernel": (6, 4),
        "encoder_00/ffn/output/bias": (4,),
        "pooler/kernel": (4, 4),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def sparse(base):
    kernel = base["encoder_00/ffn/output/kernel"] * 1.5
    kernel[np.abs(kernel) < 1] = 0
    bias = base["encoder_00/ffn/output/bias"] + np.float32(0.1)
    return {"encoder_00/ffn/output/kernel": kernel, "encoder_00/ffn/output/bias": bias}


@pytest.mark.parametrize(("dtype", "bits"), [("float16", 11), ("bfloat16", 8)])
def test_zeros_stay_and_kept_weights_are_rounded_to_the_type(dtype, bits):
    base = dense()
    given = sparse(base)
    found = unpack(pack(given, base, ABOUT, dtype=dtype), base)
    assert list(found) == list(base)
    kernel = "encoder_00/ffn/output/kernel"
    np.testing.assert_array_equal(found[kernel] == 0, given[kernel] == 0)
    np.testing.assert_allclose(found[kernel], given[kernel], rtol=2.0**-bits)
    np.testing.assert_array_equal(found["encoder_00/ffn/output/bias"], given[kernel[:-6] + "bias"])
    for name in ("embeddings/word/embeddings", "pooler/kernel"):
        np.testing.assert_array_equal(found[name], base[name])


def test_bfloat16_is_rounded_as_tensorflow_rounds_it():
    tf = pytest.importorskip("tensorflow")
    base = dense()
    given = sparse(base)
    kernel = "encoder_00/ffn/output/kernel"
    wanted = tf.cast(tf.cast(given[kernel], tf.bfloat16), tf.float32).numpy()
    found = unpack(pack(given, base, ABOUT, dtype="bfloat16"), base)[kernel]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", packed.TYPES)
def test_what_was_unpacked_packs_to_the_same_content(tmp_path, dtype):
    base = dense()
    first = pack(sparse(base), base, ABOUT, dtype=dtype)
    again = pack(unpack(first, base), base, ABOUT, dtype=dtype)
    assert again.about == first.about
    write_packed(tmp_path / "a.npz", first)
    write_packed(tmp_path / "b.npz", again)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("dtype", packed.TYPES)
@pytest.mark.parametrize("value", [1e-30, -1e-30])
def test_a_kept_weight_never_becomes_zero(dtype, value):
    base = dense()
    given = sparse(base)
    kernel = given["encoder_00/ffn/output/kernel"]
    place = tuple(np.argwhere(kernel)[0])
    kernel[place] = value
    found = unpack(pack(given, base, ABOUT, dtype=dtype), base)["encoder_00/ffn/output/kernel"]
    assert found[place] != 0
    assert np.sign(found[place]) == np.sign(value)


def test_a_weight_beyond_float16_is_refused():
    base = dense()
    given = sparse(base)
    given["encoder_00/ffn/output/kernel"][0, 0] = 1e6
    with pytest.raises(UserError, match="choose bfloat16"):
        pack(given, base, ABOUT)


def test_a_dense_encoder_or_a_foreign_one_is_refused():
    base = dense()
    with pytest.raises(UserError, match="nothing sparse"):
        pack(base, base, ABOUT)
    with pytest.raises(UserError, match=r"no weight classifier/kernel"):
        pack({**sparse(base), "classifier/kernel": np.ones((4, 2))}, base, ABOUT)
    with pytest.raises(UserError, match=r"is \(2,\)"):
        pack({"encoder_00/ffn/output/bias": np.ones(2)}, base, ABOUT)


def test_another_base_is_refused():
    base = dense()
    found = pack(sparse(base), base, ABOUT)
    with pytest.raises(UserError, match="needs the base tiny with the digest"):
        unpack(found, dense(seed=1))


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9, 1.0])
def test_a_file_cut_short_or_with_a_wrong_byte_says_so_once(tmp_path, place):
    base = dense()
    path = tmp_path / "tiny_sparse.npz"
    write_packed(path, pack(sparse(base), base, ABOUT))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * place) - 1])
    with pytest.raises(UserError, match=r"is damaged|cannot be read|Cannot read") as error:
        read_packed(path)
    assert "get the file again" in str(error.value)


def test_every_changed_byte_of_a_weight_is_noticed(tmp_path):
    base = dense()
    path = tmp_path / "tiny_sparse.npz"
    found = pack(sparse(base), base, ABOUT)
    write_packed(path, found)
    data = path.read_bytes()
    values = found.arrays["encoder_00/ffn/output/kernel" + packed.VALUES].tobytes()
    at = data.index(values)
    for offset in range(len(values)):
        changed = bytearray(data)
        changed[at + offset] ^= 1
        path.write_bytes(changed)
        with pytest.raises(UserError, match="damaged"):
            read_packed(path)


def test_content_that_disagrees_with_its_digest_is_refused(tmp_path):
    base = dense()
    path = tmp_path / "tiny_sparse.npz"
    found = pack(sparse(base), base, ABOUT)
    found.arrays["encoder_00/ffn/output/bias" + packed.PLAIN][0] += 1
    write_packed(path, found)
    with pytest.raises(UserError, match="another digest"):
        read_packed(path)


def test_a_later_format_and_other_files_are_refused(tmp_path):
    base = dense()
    path = tmp_path / "tiny_sparse.npz"
    found = pack(sparse(base), base, ABOUT)
    found.about["format"] = 2
    write_packed(path, found)
    with pytest.raises(UserError, match="install a newer one"):
        read_packed(path)
    np.savez(path, about=np.array("no JSON"))
    with pytest.raises(UserError, match="no sparse encoder"):
        read_packed(path)


@pytest.fixture
def tiny_base(tmp_path):
    """A Hugging Face folder with an encoder of a few hundred weights."""
    model = bert.build_model(ENCODER, None)
    rng = np.random.default_rng(0)
    for variable in bert.parameters(model).values():
        variable.assign(rng.normal(0, 0.3, variable.shape))
    vocab = tmp_path / "pieces.txt"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
    vocab.write_text("".join(f"{piece}\n" for piece in pieces))
    tokenizer = {"lower_case": True, "strip_accents": None, "split_chinese": True}
    folder = tmp_path / "base"
    huggingface.write_folder(folder, model, ENCODER, None, vocab, tokenizer=tokenizer)
    return folder


def sparse_layers(base):
    return {
        name: np.where(np.abs(value) > 0.3, value, 0).astype(np.float32)
        for name, value in base.items()
        if name.startswith("encoder_") and name.endswith("kernel")
    }


def test_a_shipped_encoder_is_found_by_its_name(tmp_path, tiny_base, monkeypatch):
    base = presets.open_pretrained(tiny_base).read_weights()
    path = tmp_path / "tiny_sparse.npz"
    write_packed(path, pack(sparse_layers(base), base, ABOUT))
    monkeypatch.setattr(finding, "shipped_encoders", lambda: {"tiny_sparse": path})
    monkeypatch.setattr(finding, "_find_default", lambda: tiny_base)
    monkeypatch.setenv(shipped.CACHE, str(tmp_path / "cache"))
    source = presets.open_pretrained("tiny_sparse")
    assert source.folder.parent == tmp_path / "cache"
    assert source.config == presets.open_pretrained(tiny_base).config
    wanted = unpack(read_packed(path), base)
    found = source.read_weights()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)
    # Unpacked once: the second time, nothing is written.
    before = (source.folder / "model.safetensors").stat().st_mtime_ns
    assert finding.resolve("tiny_sparse") == source.folder
    assert (source.folder / "model.safetensors").stat().st_mtime_ns == before


def test_the_encoders_of_the_package_are_whole_and_described():
    for name, path in encoders.shipped_encoders().items():
        found = read_packed(path)
        assert found.about["name"] == name
        assert found.about["base"] == encoders.BASE
        assert {"version", "licence", "recipe"} <= found.about.keys()
        assert path.with_suffix(".md").read_text(encoding="utf-8").startswith(f"# {name}")
        wanted = int(name.rpartition("_")[2]) / 100
        assert packed.sparsity(found) == pytest.approx(wanted, abs=2e-3)
        assert path.stat().st_size < 8e6


def tool(*flags):
    command = [sys.executable, "-m", "tf_prune_ofa.tools.pack_encoder", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_tool_packs_and_unpacks_bit_for_bit(tmp_path, tiny_base):
    base = presets.open_pretrained(tiny_base).read_weights()
    first = tmp_path / "first.npz"
    write_packed(first, pack(sparse_layers(base), base, {**ABOUT, "base": str(tiny_base)}))
    folder = tmp_path / "unpacked"
    shipped.unpack_folder(read_packed(first), tiny_base, folder)
    about = tmp_path / "about.json"
    about.write_text(json.dumps(ABOUT | {"base": str(tiny_base)}))
    second = tmp_path / "second.npz"
    flags = [f"--base={tiny_base}", f"--about={about}", f"--output={second}"]
    ran = tool(f"--encoder={folder}", *flags)
    assert ran.returncode == 0, ran.stderr
    assert "sparsity 0." in ran.stdout
    assert second.read_bytes() == first.read_bytes()
    # Who unpacks it needs that base, too; where it lay is the maker's own.
    card = second.with_suffix(".md").read_text(encoding="utf-8")
    assert f"--base={tiny_base.name}" in card and "hf://user/name" not in card
    assert str(tiny_base) not in card
    # A damaged file ends with one message, and nothing is written.
    second.write_bytes(second.read_bytes()[:-100])
    ran = tool(f"--unpack={second}", f"--base={tiny_base}", f"--output={tmp_path / 'none'}")
    assert ran.returncode == 1
    assert ran.stderr.count("Error:") == 1
    assert "is damaged" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "none").exists()


def test_zeros_of_the_encoder_of_blocks_are_whole_blocks():
    found = read_packed(encoders.shipped_encoders()["minilm_l6_sparse_1x4_80"])
    sizes = {"attention/output": (384, 384), "ffn/output": (1536, 384)}  # [in, out]
    for tail, (inputs, outputs) in sizes.items():
        bits = found.arrays[f"encoder_03/{tail}/kernel{packed.MASK}"]
        mask = np.unpackbits(bits, count=inputs * outputs).reshape(inputs, outputs)
        blocks = mask.T.reshape(outputs, inputs // 4, 4).sum(-1)
        assert set(np.unique(blocks)) == {0, 4}
