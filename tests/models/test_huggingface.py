import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import prune_low_magnitude
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.bert import Classification, EncoderConfig, MaskedLM, SpanQA
from tf_prune_ofa.models.finding import resolve
from tf_prune_ofa.models.huggingface import load_weights, read_config, write_folder
from tf_prune_ofa.text.wordpiece import tokenizer_settings

BERT = EncoderConfig("bert", 30, 8, 1, 2, 16, max_positions=10)
DISTILBERT = EncoderConfig("distilbert", 30, 8, 1, 2, 16, max_positions=10)
CASED = {"lower_case": False, "strip_accents": None, "split_chinese": True}
UNCASED = {**CASED, "lower_case": True}
# Written by another version of transformers than most others: a buffer that is no weight.
BUFFER = "embeddings.position_ids"

# What `save_pretrained` of each class of transformers writes for one layer, by hand.
BERT_ENCODER = """
    embeddings.word_embeddings.weight 30,8
    embeddings.position_embeddings.weight 10,8
    embeddings.token_type_embeddings.weight 2,8
    embeddings.LayerNorm.weight 8
    embeddings.LayerNorm.bias 8
    encoder.layer.0.attention.self.query.weight 8,8
    encoder.layer.0.attention.self.query.bias 8
    encoder.layer.0.attention.self.key.weight 8,8
    encoder.layer.0.attention.self.key.bias 8
    encoder.layer.0.attention.self.value.weight 8,8
    encoder.layer.0.attention.self.value.bias 8
    encoder.layer.0.attention.output.dense.weight 8,8
    encoder.layer.0.attention.output.dense.bias 8
    encoder.layer.0.attention.output.LayerNorm.weight 8
    encoder.layer.0.attention.output.LayerNorm.bias 8
    encoder.layer.0.intermediate.dense.weight 16,8
    encoder.layer.0.intermediate.dense.bias 16
    encoder.layer.0.output.dense.weight 8,16
    encoder.layer.0.output.dense.bias 8
    encoder.layer.0.output.LayerNorm.weight 8
    encoder.layer.0.output.LayerNorm.bias 8
"""
BERT_POOLER = """
    pooler.dense.weight 8,8
    pooler.dense.bias 8
"""
BERT_MLM = """
    cls.predictions.bias 30
    cls.predictions.transform.dense.weight 8,8
    cls.predictions.transform.dense.bias 8
    cls.predictions.transform.LayerNorm.weight 8
    cls.predictions.transform.LayerNorm.bias 8
"""
BERT_NSP = """
    cls.seq_relationship.weight 2,8
    cls.seq_relationship.bias 2
"""
DISTILBERT_ENCODER = """
    embeddings.word_embeddings.weight 30,8
    embeddings.position_embeddings.weight 10,8
    embeddings.LayerNorm.weight 8
    embeddings.LayerNorm.bias 8
    transformer.layer.0.attention.q_lin.weight 8,8
    transformer.layer.0.attention.q_lin.bias 8
    transformer.layer.0.attention.k_lin.weight 8,8
    transformer.layer.0.attention.k_lin.bias 8
    transformer.layer.0.attention.v_lin.weight 8,8
    transformer.layer.0.attention.v_lin.bias 8
    transformer.layer.0.attention.out_lin.weight 8,8
    transformer.layer.0.attention.out_lin.bias 8
    transformer.layer.0.sa_layer_norm.weight 8
    transformer.layer.0.sa_layer_norm.bias 8
    transformer.layer.0.ffn.lin1.weight 16,8
    transformer.layer.0.ffn.lin1.bias 16
    transformer.layer.0.ffn.lin2.weight 8,16
    transformer.layer.0.ffn.lin2.bias 8
    transformer.layer.0.output_layer_norm.weight 8
    transformer.layer.0.output_layer_norm.bias 8
"""
DISTILBERT_MLM = """
    vocab_transform.weight 8,8
    vocab_transform.bias 8
    vocab_layer_norm.weight 8
    vocab_layer_norm.bias 8
    vocab_projector.bias 30
"""
CLASSIFIER = """
    classifier.weight 3,8
    classifier.bias 3
"""
PRE_CLASSIFIER = """
    pre_classifier.weight 8,8
    pre_classifier.bias 8
"""
SPAN = """
    qa_outputs.weight 2,8
    qa_outputs.bias 2
"""
CLASSES = [
    ("BertModel", BERT, None, "", BERT_ENCODER + BERT_POOLER, ""),
    ("BertForMaskedLM", BERT, MaskedLM(), "bert.", BERT_ENCODER, BERT_MLM),
    (
        "BertForPreTraining",
        BERT,
        MaskedLM(nsp=True),
        "bert.",
        BERT_ENCODER + BERT_POOLER,
        BERT_MLM + BERT_NSP,
    ),
    (
        "BertForSequenceClassification",
        BERT,
        Classification(3),
        "bert.",
        BERT_ENCODER + BERT_POOLER,
        CLASSIFIER,
    ),
    ("BertForQuestionAnswering", BERT, SpanQA(), "bert.", BERT_ENCODER, SPAN),
    ("DistilBertModel", DISTILBERT, None, "", DISTILBERT_ENCODER, ""),
    (
        "DistilBertForMaskedLM",
        DISTILBERT,
        MaskedLM(),
        "distilbert.",
        DISTILBERT_ENCODER,
        DISTILBERT_MLM,
    ),
    (
        "DistilBertForSequenceClassification",
        DISTILBERT,
        Classification(3),
        "distilbert.",
        DISTILBERT_ENCODER,
        PRE_CLASSIFIER + CLASSIFIER,
    ),
    (
        "DistilBertForQuestionAnswering",
        DISTILBERT,
        SpanQA(),
        "distilbert.",
        DISTILBERT_ENCODER,
        SPAN,
    ),
]
EVERY_CLASS = pytest.mark.parametrize(
    ("name", "config", "head", "prefix", "base", "rest"), CLASSES, ids=[c[0] for c in CLASSES]
)


def listed(text, prefix=""):
    """Return {name: (dtype, shape)} of one of the lists above."""
    pairs = (line.split() for line in text.splitlines() if line)
    return {prefix + n: ("F32", [int(size) for size in shape.split(",")]) for n, shape in pairs}


def header(folder):
    """Return a safetensors file's {name: (dtype, shape)} and its metadata."""
    with safe_open(Path(folder) / "model.safetensors", framework="np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        return {n: (s.get_dtype(), s.get_shape()) for n, s in slices.items()}, file.metadata()


def random_model(config, head=None, seed=1, **options):
    model = bert.build_model(config, head, **options)
    rng = np.random.default_rng(seed)
    for variable in bert.parameters(model).values():
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return model


def values(model):
    return {name: variable.numpy() for name, variable in bert.parameters(model).items()}


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name, strict=True)


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxy"]


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in PIECES))
    return path


@pytest.fixture(scope="session")
def pretraining(tmp_path_factory):
    """A folder of BertForPreTraining, to copy from."""
    path, head = tmp_path_factory.mktemp("pretraining"), MaskedLM(nsp=True)
    (path / "v.txt").write_text("".join(f"{piece}\n" for piece in PIECES))
    model = random_model(BERT, head)
    write_folder(path / "out", model, BERT, head, path / "v.txt", tokenizer=UNCASED)
    return path / "out"


@pytest.fixture
def folder(tmp_path, pretraining):
    return shutil.copytree(pretraining, tmp_path / "pretrained")


def edit_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: v for key, v in config.items() if v != "absent"}))


def edit_tensors(folder, edit):
    path = folder / "model.safetensors"
    save_file(edit(load_file(path)), path, metadata={"format": "pt"})


# Writing


@EVERY_CLASS
def test_tensors_are_those_of_the_class(name, config, head, prefix, base, rest, tmp_path, vocab):
    model = random_model(config, head)
    write_folder(tmp_path / "out", model, config, head, vocab, tokenizer=UNCASED)
    tensors, metadata = header(tmp_path / "out")
    assert tensors == listed(base, prefix) | listed(rest)
    assert metadata == {"format": "pt"}
    settings = json.loads((tmp_path / "out/config.json").read_text())
    assert settings["architectures"] == [name]
    assert settings["model_type"] == ("bert" if name.startswith("Bert") else "distilbert")
    assert read_config(tmp_path / "out") == config

    again = random_model(config, head, seed=2)
    report = load_weights(again, tmp_path / "out")
    assert report == huggingface.LoadReport()
    assert_same(values(again), values(model))


def test_kernels_are_transposed_and_everything_else_is_not(folder):
    tensors = load_file(folder / "model.safetensors")
    ours = values(random_model(BERT, MaskedLM(nsp=True)))
    np.testing.assert_array_equal(
        tensors["bert.encoder.layer.0.output.dense.weight"],
        ours["encoder_00/ffn/output/kernel"].T,
    )
    np.testing.assert_array_equal(
        tensors["bert.embeddings.word_embeddings.weight"], ours["embeddings/word/embeddings"]
    )


def test_minilm_comes_out_as_it_came_in(tmp_path):
    source = resolve("minilm_l6")
    config = read_config(source)
    assert config == EncoderConfig("bert", 30522, 384, 6, 12, 1536)
    model = bert.build_model(config)
    assert load_weights(model, source) == huggingface.LoadReport()
    settings = tokenizer_settings(source)
    write_folder(tmp_path / "out", model, config, None, source / "vocab.txt", tokenizer=settings)

    before, metadata = header(source)
    assert before.pop(BUFFER) == ("I64", [1, 512])
    assert header(tmp_path / "out") == (before, metadata)
    tensors = load_file(source / "model.safetensors")
    del tensors[BUFFER]
    assert_same(load_file(tmp_path / "out/model.safetensors"), tensors)
    assert (tmp_path / "out/vocab.txt").read_bytes() == (source / "vocab.txt").read_bytes()
    old, new = (json.loads((f / "config.json").read_text()) for f in (source, tmp_path / "out"))
    for key in set(old) - {"_name_or_path", "gradient_checkpointing", "transformers_version"}:
        assert new[key] == old[key], key
    assert tokenizer_settings(tmp_path / "out") == settings


def test_config_of_a_classifier(tmp_path, vocab):
    model = random_model(BERT, Classification(2))
    labels = ["negative", "positive"]
    write_folder(
        tmp_path / "out",
        model,
        BERT,
        Classification(2),
        vocab,
        tokenizer=CASED,
        labels=labels,
    )
    settings = json.loads((tmp_path / "out/config.json").read_text())
    assert settings["id2label"] == {"0": "negative", "1": "positive"}
    assert settings["label2id"] == {"negative": 0, "positive": 1}
    assert settings["problem_type"] == "single_label_classification"
    assert settings["pad_token_id"] == 0
    assert huggingface.read_labels(tmp_path / "out") == ("negative", "positive")
    assert tokenizer_settings(tmp_path / "out") == CASED


def test_config_of_a_regression(tmp_path, vocab):
    model = random_model(BERT, Classification(1))
    write_folder(tmp_path / "out", model, BERT, Classification(1), vocab, tokenizer=UNCASED)
    settings = json.loads((tmp_path / "out/config.json").read_text())
    assert settings["problem_type"] == "regression"
    assert settings["id2label"] == {"0": "LABEL_0"}


def test_labels_must_fit_the_model(tmp_path, vocab):
    model = random_model(BERT, Classification(2))
    for labels in (["one"], ["same", "same"]):
        with pytest.raises(UserError, match="the model has 2 labels"):
            write_folder(
                tmp_path / "out",
                model,
                BERT,
                Classification(2),
                vocab,
                tokenizer=UNCASED,
                labels=labels,
            )
    assert not (tmp_path / "out").exists()


def test_extra_weights_travel_along(tmp_path, vocab):
    classifier = values(random_model(BERT, Classification(2)))
    pooler = {name: v for name, v in classifier.items() if name.startswith("pooler")}
    write_folder(
        tmp_path / "out",
        random_model(BERT, MaskedLM()),
        BERT,
        MaskedLM(),
        vocab,
        tokenizer=UNCASED,
        extra=pooler,
    )
    encoder = listed(BERT_ENCODER + BERT_POOLER, "bert.")
    assert header(tmp_path / "out")[0] == encoder | listed(BERT_MLM)
    model = bert.build_model(BERT)
    report = load_weights(model, tmp_path / "out")
    assert report.unused_heads == ("mlm/transform", "mlm/norm", "mlm/decoder")
    np.testing.assert_array_equal(values(model)["pooler/kernel"], pooler["pooler/kernel"])


def test_wrapped_models_are_written_like_plain_ones(tmp_path, vocab):
    def wrap(layer):
        return prune_low_magnitude(layer) if layer.name.endswith("ffn/output") else layer

    for name, options in (("plain", {}), ("wrapped", {"wrap": wrap})):
        model = random_model(BERT, MaskedLM(), **options)
        write_folder(tmp_path / name, model, BERT, MaskedLM(), vocab, tokenizer=UNCASED)
    plain, wrapped = (tmp_path / name / "model.safetensors" for name in ("plain", "wrapped"))
    assert plain.read_bytes() == wrapped.read_bytes()


def test_a_folder_of_someone_else_is_not_replaced(tmp_path, vocab):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    model = random_model(BERT)
    with pytest.raises(UserError, match=r"holds other files \(thesis.tex\)"):
        write_folder(tmp_path / "out", model, BERT, None, vocab, tokenizer=UNCASED)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_full_disk_leaves_the_old_folder_whole(folder, vocab, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_bytes = Path.write_bytes

    def fill_up(path, data):
        if path.name == "model.safetensors":
            write_bytes(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    model = random_model(BERT, seed=3)
    with pytest.raises(UserError, match="No space left"):
        write_folder(folder, model, BERT, None, vocab, tokenizer=UNCASED)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["pretrained", "vocab.txt"]


def test_a_written_folder_is_readable_for_others(folder):
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert len(set(modes.values())) == 1, modes  # all as the umask says


def test_vocabulary_must_fit_the_model(tmp_path, vocab):
    vocab.write_text(vocab.read_text() + "one\nmore\n")
    with pytest.raises(UserError, match=r"32 word pieces, the encoder's embedding only 30 rows"):
        write_folder(tmp_path / "out", random_model(BERT), BERT, None, vocab, tokenizer=UNCASED)
    with pytest.raises(UserError, match="nowhere.txt"):
        path = tmp_path / "nowhere.txt"
        write_folder(tmp_path / "out", random_model(BERT), BERT, None, path, tokenizer=UNCASED)
    assert not (tmp_path / "out").exists()


def test_an_epsilon_that_distilbert_files_cannot_hold_is_refused(tmp_path, vocab):
    config = bert.replace(DISTILBERT, layer_norm_epsilon=1e-6)
    with pytest.raises(UserError, match="layer_norm_epsilon is 1e-06"):
        model = random_model(config)
        write_folder(tmp_path / "out", model, config, None, vocab, tokenizer=UNCASED)


# Reading config.json


@pytest.mark.parametrize(
    ("activation", "form"),
    [("gelu", "gelu_erf"), ("gelu_new", "gelu_tanh"), ("gelu_pytorch_tanh", "gelu_tanh")],
)
def test_activations(folder, activation, form):
    edit_config(folder, hidden_act=activation)
    assert read_config(folder).activation == form


def test_absent_settings_are_those_of_transformers(folder):
    names = ("type_vocab_size", "layer_norm_eps", "hidden_act", "hidden_dropout_prob")
    edit_config(folder, **dict.fromkeys(names, "absent"), max_position_embeddings="absent")
    assert read_config(folder) == bert.replace(BERT, max_positions=512)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act is 'relu', supported are gelu, gelu_new"),
        ({"model_type": "gpt2"}, "model_type is 'gpt2'; this package reads 'bert'"),
        ({"model_type": "absent"}, "model_type is None"),
        (
            {"position_embedding_type": "relative_key"},
            "position_embedding_type is 'relative_key', only 'absolute' is supported",
        ),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is"),
        ({"hidden_size": "absent"}, "has no hidden_size"),
        ({"hidden_size": "8"}, "hidden_size is '8', it must be a positive whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, it must be a positive whole number"),
        ({"hidden_dropout_prob": -0.1}, "hidden_dropout_prob is -0.1"),
        ({"num_attention_heads": 3}, "hidden_size 8 is not a multiple of num_heads 3"),
    ],
)
def test_configs_that_are_refused(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(UserError, match=message):
        read_config(folder)


def test_broken_json(folder):
    (folder / "config.json").write_text('{"model_type": "bert", ')
    with pytest.raises(UserError, match=r"config.json is not valid JSON"):
        read_config(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config.json"):
        read_config(folder)


def test_labels_with_holes_are_refused(folder):
    assert huggingface.read_labels(folder) is None
    edit_config(folder, id2label={"0": "no", "2": "yes"})
    with pytest.raises(UserError, match="ids in id2label are 0, 2"):
        huggingface.read_labels(folder)


# Reading weights


def test_heads_of_the_file_may_be_left_out_and_heads_of_the_model_may_be_new(folder):
    model = random_model(BERT, Classification(2), seed=5)
    fresh = values(model)
    report = load_weights(model, folder, new_heads=["classifier"])
    assert report.new == ("classifier",)
    assert report.unused_heads == ("mlm/transform", "mlm/norm", "mlm/decoder", "nsp")
    np.testing.assert_array_equal(values(model)["classifier/kernel"], fresh["classifier/kernel"])
    assert np.any(values(model)["pooler/kernel"] != fresh["pooler/kernel"])


def test_a_new_head_must_be_allowed(folder):
    model = random_model(BERT, SpanQA())
    before = values(model)
    with pytest.raises(UserError) as error:
        load_weights(model, folder, new_heads=["classifier"])
    lines = str(error.value).splitlines()
    assert lines[1:-1] == ["  missing: qa_outputs.weight [2, 8]", "  missing: qa_outputs.bias [2]"]
    assert_same(values(model), before)
    with pytest.raises(ValueError, match="new_heads has"):
        load_weights(model, folder, new_heads=["spam"])


def test_half_a_head_is_damage(folder):
    edit_tensors(folder, lambda t: {n: v for n, v in t.items() if n != "bert.pooler.dense.bias"})
    with pytest.raises(UserError, match=r"missing: pooler.dense.bias \[8\]"):
        load_weights(bert.build_model(BERT), folder, new_heads=["pooler"])


def test_missing_and_left_over_tensors_are_listed(folder):
    def edit(tensors):
        del tensors["bert.encoder.layer.0.output.dense.weight"]
        extra = {"bert.encoder.layer.7.output.dense.bias": np.zeros(8, np.float32)}
        return tensors | extra | {"lm_head.decoder.weight": np.zeros((30, 8), np.float32)}

    edit_tensors(folder, edit)
    with pytest.raises(UserError) as error:
        load_weights(bert.build_model(BERT), folder)
    assert str(error.value).splitlines()[1:-1] == [
        "  missing: encoder.layer.0.output.dense.weight [8, 16]",
        "  left over: bert.encoder.layer.7.output.dense.bias [8]",
        "  left over: lm_head.decoder.weight [30, 8]",
    ]


def test_other_shapes_are_listed(folder):
    model = bert.build_model(bert.replace(BERT, intermediate_size=20))
    with pytest.raises(UserError) as error:
        load_weights(model, folder)
    assert str(error.value).splitlines()[1:-1] == [
        "  shape: encoder.layer.0.intermediate.dense.weight [16, 8], the model needs [20, 8]",
        "  shape: encoder.layer.0.intermediate.dense.bias [16], the model needs [20]",
        "  shape: encoder.layer.0.output.dense.weight [8, 16], the model needs [8, 20]",
    ]


def test_a_model_with_more_layers_misses_them(folder):
    with pytest.raises(UserError, match=r"missing: encoder_01/attention/query/kernel \[8, 8\]"):
        load_weights(bert.build_model(bert.replace(BERT, num_layers=2)), folder)


def test_a_classifier_of_other_labels_is_new_as_a_whole(tmp_path, vocab):
    for config, layers in (
        (BERT, ("classifier",)),
        (DISTILBERT, ("classifier/pre", "classifier")),
    ):
        path = tmp_path / config.architecture
        three = random_model(config, Classification(3))
        write_folder(path, three, config, Classification(3), vocab, tokenizer=UNCASED)
        two = bert.build_model(config, Classification(2))
        fresh = values(two)
        with pytest.raises(UserError, match=r"classifier.bias \[3\], the model needs \[2\]"):
            load_weights(two, path)
        report = load_weights(two, path, new_heads=["classifier"])
        assert set(report.new) == set(report.unused_heads) == set(layers)
        for layer in layers:
            np.testing.assert_array_equal(values(two)[f"{layer}/kernel"], fresh[f"{layer}/kernel"])


def test_other_spellings_of_the_same_weights(folder):
    model = bert.build_model(BERT, MaskedLM(nsp=True))
    load_weights(model, folder)
    wanted = values(model)

    def edit(tensors):
        table = tensors["bert.embeddings.word_embeddings.weight"]
        old = {
            name.removeprefix("bert.")
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta"): value
            for name, value in tensors.items()
        }
        bias = old.pop("cls.predictions.bias")
        return old | {
            BUFFER: np.arange(10)[None],
            "cls.predictions.decoder.weight": table,
            "cls.predictions.decoder.bias": bias,
        }

    edit_tensors(folder, edit)
    again = random_model(BERT, MaskedLM(nsp=True), seed=9)
    assert load_weights(again, folder) == huggingface.LoadReport()
    assert_same(values(again), wanted)


def test_an_untied_decoder_is_refused(folder):
    decoder = {"cls.predictions.decoder.weight": np.ones((30, 8), np.float32)}
    edit_tensors(folder, lambda tensors: tensors | decoder)
    with pytest.raises(UserError, match="decoder's matrix is not the word embedding's"):
        load_weights(bert.build_model(BERT, MaskedLM()), folder)


def test_half_precision_is_widened_and_zeros_stay_zeros(folder):
    def edit(tensors):
        kernel = tensors["bert.encoder.layer.0.output.dense.weight"]
        kernel[np.abs(kernel) < 0.5] = 0
        kernel[0, 0] = -0.0  # a zero too
        return {name: value.astype(np.float16) for name, value in tensors.items()}

    edit_tensors(folder, edit)
    stored = load_file(folder / "model.safetensors")["bert.encoder.layer.0.output.dense.weight"]
    model = bert.build_model(BERT)
    load_weights(model, folder)
    kernel = values(model)["encoder_00/ffn/output/kernel"]
    assert 20 < np.count_nonzero(kernel == 0) < 108
    np.testing.assert_array_equal(kernel, stored.T.astype(np.float32))


def test_quantized_weights_are_refused(folder):
    edit_tensors(folder, lambda t: t | {"bert.pooler.dense.weight": np.ones((8, 8), np.int8)})
    with pytest.raises(UserError, match="bert.pooler.dense.weight is int8, not a float"):
        load_weights(bert.build_model(BERT), folder)


def test_shards(folder):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:9]}
    shards["model-00002-of-00002.safetensors"] = names[9:]
    for shard, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / shard)
    weight_map = {name: shard for shard, part in shards.items() for name in part}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    whole = bert.build_model(BERT)
    load_weights(whole, folder)
    (folder / "model.safetensors").unlink()
    sharded = bert.build_model(BERT)
    load_weights(sharded, folder)
    assert_same(values(sharded), values(whole))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="has no model-00002-of-00002.safetensors"):
        load_weights(sharded, folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match="model.safetensors.index.json lists no files"):
        load_weights(sharded, folder)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_truncated_weights(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    model = bert.build_model(BERT)
    before = values(model)
    with pytest.raises(UserError, match=r"model.safetensors is cut short, damaged or no"):
        load_weights(model, folder)
    assert_same(values(model), before)


def test_pickled_weights_are_not_read_but_explained(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="import BertForPreTraining as M; M.from_pretrained"):
        load_weights(bert.build_model(BERT), folder)
