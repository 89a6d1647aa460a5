"""Static INT8 without training: what suits is written, what does not is refused whole."""

import numpy as np
import pytest
from exported_models import make_examples, make_model
from small_runs import TOKENIZER, VOCABULARY, WORDS

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs import post_training
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.bert import Classification, EncoderConfig, SpanQA
from tf_prune_ofa.quant.activations import Activations
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.stages.export import export_folder
from tf_prune_ofa.tasks import find_kind
from tf_prune_ofa.text.opening import tokenizer_of
from tf_prune_ofa.tflite.graph import Graph

CONFIG = EncoderConfig(
    "bert", len(VOCABULARY), hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64,
    max_positions=16,
).without_dropout()  # fmt: skip
LENGTH = 12
CHANNEL = 5


def make_texts(count, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(2, 9))) for _ in range(count)]


def write(folder, outliers):
    """Write a classifier, of which `outliers` changes the parameters; return its folder."""
    head = Classification(2)
    model = make_model(CONFIG, head, length=LENGTH)
    parameters = bert.parameters(model)
    for name, value in outliers({n: v.numpy().copy() for n, v in parameters.items()}).items():
        parameters[name].assign(value)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    huggingface.write_folder(
        folder / "model", model, CONFIG, head, vocabulary, tokenizer=TOKENIZER,
        labels=["bad", "good"],
    )  # fmt: skip
    return folder / "model"


def residual(values):
    """A channel of the feed-forward output that is 50 times the others; the norm brings it back.

    As in BERT (Bondarenko et al. 2021). The outlier scales are made for it.
    """
    values["encoder_00/ffn/output/kernel"][:, CHANNEL] *= 50
    values["encoder_00/ffn/norm/gamma"] *= 10
    values["encoder_00/ffn/norm/gamma"][CHANNEL] = 0.5
    return values


def in_front_of_the_pooler(values):
    """A channel 1,000 times the others in the last states: a step for all would hold only it."""
    values["encoder_01/ffn/norm/gamma"][CHANNEL] = 1000
    values["pooler/kernel"][CHANNEL] = 0
    return values


def difference_of_twins(values):
    """The classes depend on what two nearly equal outputs of the pooler differ by."""
    pooler, classifier = values["pooler/kernel"], values["classifier/kernel"]
    pooler[:, 1] = pooler[:, 0] * (1 + 1e-3 * np.sin(np.arange(len(pooler))))
    values["pooler/bias"][:2] = 0
    classifier[:] = 0
    classifier[0], classifier[1] = [500, -500], [-500, 500]
    return values


@pytest.fixture(scope="module")
def suited(tmp_path_factory):
    return write(tmp_path_factory.mktemp("suited"), residual)


def test_outliers_that_ranges_and_scales_bear(suited, tmp_path, capsys):
    export_folder(
        suited, tmp_path / "out", sequence_length=LENGTH, calibration_texts=make_texts(60),
        variants=["float32", "dense_int8"],
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "static INT8 on 15 texts" in said and "on 45 texts" in said
    # On other texts, by hand.
    float_file, static_file = (
        Interpreter(tmp_path / "out" / f"{name}_s{LENGTH}.tflite")
        for name in ("float32", "dense_int8")
    )
    ours, theirs = [], []
    for ids in tokenizer_of(suited).encode(make_texts(40, seed=1), max_length=LENGTH).ids:
        words = np.pad(ids, (0, LENGTH - len(ids)))
        mask = (np.arange(LENGTH) < len(ids)).astype(np.int32)
        arguments = words.astype(np.int32), mask, np.zeros_like(mask)
        ours.append(static_file.run(*arguments)["logits"])
        theirs.append(float_file.run(*arguments)["logits"])
    assert np.std(np.subtract(ours, theirs)) < 0.25 * np.std(theirs)


def test_outlying_channels_in_front_of_a_layer_get_a_step_of_their_own(tmp_path, capsys):
    model, out = write(tmp_path, in_front_of_the_pooler), tmp_path / "out"
    export_folder(
        model, out, sequence_length=LENGTH, calibration_texts=make_texts(40),
        variants=["dense_int8"],
    )  # fmt: skip
    assert "static INT8 on" in capsys.readouterr().out
    graph = Graph((out / f"dense_int8_s{LENGTH}.tflite").read_bytes())
    names = [graph.name(tensor) for tensor in range(len(graph.tensors))]
    assert "pooler/input/outlier_scales" in names


def test_a_model_that_int8_does_not_suit_is_refused_whole(tmp_path):
    model = write(tmp_path, difference_of_twins)
    out = tmp_path / "out"
    with pytest.raises(UserError) as raised:
        export_folder(
            model, out, sequence_length=LENGTH, calibration_texts=make_texts(30),
            variants=["float32", "dense_int8"],
        )  # fmt: skip
    message = str(raised.value)
    for part in ("on 30 texts", "of their spread", "allowed is", " became [", "Give more texts",
                 "quantize stage", "dynamic_int8", "Nothing was written"):  # fmt: skip
        assert part in message
    assert not out.exists()
    # What the message advises.
    export_folder(model, out, sequence_length=LENGTH, variants=["dynamic_int8"])
    assert (out / f"dynamic_int8_s{LENGTH}.tflite").exists()


def test_the_nearest_ranges_win(float32_file, capsys):
    """Ranges that clip nearly everything are among those tried, and are not taken."""
    examples = list(make_examples(12))
    inputs = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
    tried = post_training._candidates(float32_file, examples, scores=True)
    assert list(tried) == ["extremes", "percentiles", "least squares"]
    narrow = {name: (low / 50, high / 50) for name, (low, high) in tried["extremes"].ranges.items()}
    both = {"narrow": Activations(narrow, {}), "wide": tried["extremes"]}
    texts = ["text"] * len(examples)

    def given(which):
        activations = both if which == "both" else {which: both[which]}
        return float32_file, activations, inputs, texts, "12", find_kind("classification")

    assert post_training._nearest(*given("both")) is tried["extremes"]
    assert "ranges by wide" in capsys.readouterr().out
    # So the verdict is not one that always passes.
    with pytest.raises(UserError, match="too far from the float model on 12 texts"):
        post_training._nearest(*given("narrow"))


def test_texts_for_no_static_variant_are_refused(suited, tmp_path):
    with pytest.raises(UserError, match="calibration texts are for dense_int8"):
        export_folder(
            suited, tmp_path / "out", sequence_length=LENGTH, calibration_texts=["the film"],
            variants=["dynamic_int8"],
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_pairs_are_measured_as_pairs(suited, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        post_training, "_candidates", lambda file, examples, scores: seen.extend(examples) or {}
    )
    monkeypatch.setattr(
        post_training, "_nearest", lambda file, tried, inputs, texts, on, kind: seen.append(texts)
    )
    post_training.activations_of(
        b"", [("the film", "was good"), ("a", "bad film")], tokenizer_of(suited),
        sequence_length=LENGTH, has_types=True, int8_attention=True,
        kind=find_kind("classification"),
    )  # fmt: skip
    *examples, texts = seen
    assert texts == ["the film | was good", "a | bad film"]
    assert all(example["input_type_ids"].any() for example in examples)


def test_a_model_for_questions_is_measured_on_pairs_only(tmp_path):
    model = make_model(CONFIG, SpanQA(), length=LENGTH)
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    huggingface.write_folder(
        tmp_path / "model", model, CONFIG, SpanQA(), vocabulary, tokenizer=TOKENIZER
    )
    with pytest.raises(UserError, match="answers questions on a text.*--calibration_pairs"):
        export_folder(
            tmp_path / "model", tmp_path / "out", sequence_length=LENGTH,
            calibration_texts=make_texts(3), variants=["dense_int8"],
        )  # fmt: skip
