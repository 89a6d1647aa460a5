import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
import reference
from awkward_texts import awkward_texts
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from tf_prune_ofa.data.augment import Vocabulary
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.task_models import task_model
from tf_prune_ofa.models import bert, huggingface, presets
from tf_prune_ofa.models.bert import Classification
from tf_prune_ofa.runtime.text_classifier import TextClassifier
from tf_prune_ofa.stages.export import export_folder
from tf_prune_ofa.text.entities import encode_words
from tf_prune_ofa.text.opening import tokenizer_of
from tf_prune_ofa.text.questions import Question
from tf_prune_ofa.text.windows import encode_windows
from tf_prune_ofa.verification import files, tokenizer
from tf_prune_ofa.verification.expected import expect
from tf_prune_ofa.verification.tokenizer import pieces_of

PARITY = 5e-5
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
HIDDEN = 16


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[*SPECIAL, "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the film is not a good one"] * 5, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def unigram():
    letters = [(c, -4.0 - i / 50) for i, c in enumerate("▁abcdefghijklmnopqrstuvwxyz.,é")]
    pieces = [(token, 0.0) for token in SPECIAL] + letters + [("▁film", -3.0), ("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.add_special_tokens([*SPECIAL, "<mask>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return tokenizer


KINDS = {"roberta": byte_level, "xlm-roberta": unigram}
every_kind = pytest.mark.parametrize("kind", KINDS)


def write(folder, kind):
    """A classifier's folder; return it, its tensors and config."""
    tokenizer = KINDS[kind]()
    name = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta"}[kind]
    config = {
        "architectures": [f"{name}ForSequenceClassification"],
        "model_type": kind,
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
        "max_position_embeddings": 22,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "id2label": {"0": "a", "1": "b", "2": "c"},
    }
    extra = {
        "classifier.dense.weight": (HIDDEN, HIDDEN),
        "classifier.dense.bias": (HIDDEN,),
        "classifier.out_proj.weight": (3, HIDDEN),
        "classifier.out_proj.bias": (3,),
    }
    tensors = reference.random_tensors("roberta.", config, extra=extra)
    reference.write(folder, tensors, config)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tensors, config, tokenizer


def logits_of(tensors, config, ids, mask):
    positions = np.where(mask == 1, np.cumsum(mask, axis=1) + 1, 1)
    zeros = np.zeros_like(ids)
    x = reference.encode(tensors, "roberta.", config, ids, mask, zeros, positions)[:, 0]
    x = np.tanh(reference.dense(tensors, "classifier.dense", x))
    return reference.dense(tensors, "classifier.out_proj", x)


@every_kind
def test_logits_are_those_of_the_reference_and_come_back_from_a_folder_of_ours(kind, tmp_path):
    tensors, config, _ = write(tmp_path / "in", kind)
    source = presets.open_pretrained(tmp_path / "in")
    assert source.config.max_positions == 20
    model = bert.build_model(source.config.without_dropout(), Classification(3))
    assert huggingface.load_weights(model, tmp_path / "in") == huggingface.LoadReport()
    ids, mask, _ = reference.batch(config["vocab_size"], pad_id=1)
    inputs = {"input_word_ids": ids, "input_mask": mask}
    assert "input_type_ids" not in model.input
    wanted = logits_of(tensors, config, ids, mask)
    assert np.abs(model(inputs)["logits"] - wanted).max() < PARITY
    huggingface.write_folder(
        tmp_path / "out", model, source.config, Classification(3), source.vocab_path,
        tokenizer=source.tokenizer, labels=["a", "b", "c"],
    )  # fmt: skip
    again = bert.build_model(source.config.without_dropout(), Classification(3))
    huggingface.load_weights(again, tmp_path / "out")
    np.testing.assert_array_equal(again(inputs)["logits"], model(inputs)["logits"])
    written = json.loads((tmp_path / "out/config.json").read_text())
    for key in config:
        assert written[key] == config[key], key


@every_kind
def test_ids_are_those_of_the_tokenizer_in_its_frame(kind, tmp_path):
    *_, theirs = write(tmp_path / "in", kind)
    ours, texts = tokenizer_of(tmp_path / "in"), awkward_texts(200, seed=7)
    texts = [text.replace("<", "") for text in texts]
    for text, ids in zip(texts, ours.encode(texts, max_length=9999).ids, strict=True):
        assert ids.tolist() == theirs.encode(text).ids
    pairs = ours.encode(texts, texts[::-1], max_length=9999)
    for first, second, ids in zip(texts, texts[::-1], pairs.ids, strict=True):
        assert ids.tolist() == theirs.encode(first, second).ids
    # Written out in a text, they are text; Unigram has them among its pieces.
    assert kind == "xlm-roberta" or ours.cls_id not in ours.tokenize(["a <s> b </s>"])[0]
    short = ours.encode(texts, texts[::-1], max_length=9).ids
    assert max(map(len, short)) <= 9


def test_scores_are_those_of_the_file_to_their_last_bit(tmp_path):
    """Where two ways to cut a word are nearly as likely, the last bit says which it is."""
    scores = {"x": -10.599796663725433, "xx": -9.821589626462721}
    pieces = [(token, 0.0) for token in SPECIAL] + list(scores.items()) + [("<mask>", 0.0)]
    exact = Tokenizer(models.Unigram(pieces, unk_id=3))
    described = json.loads(unigram().to_str()) | {"pre_tokenizer": None}
    described["model"]["vocab"] = pieces
    described["added_tokens"][-1]["id"] = len(pieces) - 1
    (tmp_path / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    texts = ["x" * length for length in range(1, 60)]
    for text, ids in zip(texts, tokenizer_of(tmp_path).tokenize(texts), strict=True):
        assert ids.tolist() == exact.encode(text).ids


def test_a_file_takes_raw_text_by_its_own_tokenizer(tmp_path, capsys):
    tensors, config, tokenizer = write(tmp_path / "in", "roberta")
    with pytest.raises(UserError, match="takes WordPiece files alone, and this model has a BPE"):
        export_folder(
            tmp_path / "in", tmp_path / "out", sequence_length=12, variants=["float32"],
            mediapipe="same",
        )  # fmt: skip
    export_folder(tmp_path / "in", tmp_path / "out", sequence_length=12, variants=["float32"])
    assert "takes WordPiece files alone" in capsys.readouterr().out
    with TextClassifier(tmp_path / "out/float32_s12.tflite", delegate=None) as classifier:
        (found,) = classifier.logits(["a good film"])
    ids = np.array([tokenizer.encode("a good film").ids])
    wanted = logits_of(tensors, config, ids, np.ones_like(ids))
    assert np.abs(found - wanted).max() < PARITY


def test_a_tokenizer_of_another_family_is_refused(tmp_path):
    write(tmp_path / "in", "roberta")
    unigram().save(str(tmp_path / "in/tokenizer.json"))
    with pytest.raises(UserError, match="of the kind Unigram; RoBERTa has BPE"):
        presets.open_pretrained(tmp_path / "in")


def test_what_rests_on_word_pieces_refuses_other_tokenizers(tmp_path):
    write(tmp_path, "roberta")
    tokenizer = tokenizer_of(tmp_path)
    question = Question("1", "film ?", "the film", answers=())
    for refused in (
        lambda: encode_windows([question], tokenizer, max_length=20, question_length=4),
        lambda: encode_words(["film"], [[(0, 4)]], [np.array([0])], tokenizer, max_length=8),
        lambda: Vocabulary.of(tokenizer),
    ):
        with pytest.raises(UserError, match="WordPiece vocabularies only; this one is BPE"):
            refused()


@every_kind
def test_verify_reads_back_what_the_export_wrote(kind, tmp_path):
    write(tmp_path / "in", kind)
    out = tmp_path / "out"
    variants = ["float32", "dynamic_int8"]
    export_folder(tmp_path / "in", out, sequence_length=12, variants=variants)
    state = json.loads((tmp_path / "in/tokenizer.json").read_text(encoding="utf-8"))
    contents = {name: (out / f"{name}_s12.tflite").read_bytes() for name in variants}
    with zipfile.ZipFile(io.BytesIO(contents["float32"])) as archive:
        settings = json.loads(archive.read("text_settings.json"))
    expected = expect(
        task_model(tmp_path / "in"), None, None, sequence_length=12, labels=["a", "b", "c"],
        vocabulary=pieces_of(state), tokenizer=state, settings=settings,
    )  # fmt: skip
    for name, content in contents.items():
        assert files.find_problems(content, name, expected) == []
    changed = json.loads(json.dumps(state))
    (first, *_, last) = changed["model"]["vocab"]
    if kind == "roberta":
        vocab = changed["model"]["vocab"]
        vocab[first], vocab[last] = vocab[last], vocab[first]
    else:
        first[1] = -1.0
    assert any(
        "the model of its tokenizer.json is not the model's" in problem
        for problem in files.find_problems(
            contents["float32"], "float32", dataclasses.replace(expected, tokenizer=changed)
        )
    )
    # A file of word pieces is no file of this model, nor the other way round.
    pieces = dataclasses.replace(expected, tokenizer=None)
    problems = files.find_problems(contents["float32"], "float32", pieces)
    assert any("instead of vocab.txt" in problem for problem in problems)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda state: state["model"]["merges"].reverse(), "the model of its"),
        (lambda state: state.update(normalizer={"type": "Lowercase"}), "the normalizer of its"),
        (lambda state: state.update(post_processor=None), "the post_processor of its"),
        (lambda state: state["added_tokens"][0].update(lstrip=True), "the added tokens of its"),
        (lambda state: state["added_tokens"][0].update(special=False), "other special tokens"),
        (lambda state: state["added_tokens"].pop(), "the added tokens of its"),
        (
            lambda state: state.update(
                truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst",
                            "stride": 0}
            ),
            "a truncation of its own",
        ),
        (lambda state: state.clear(), "cannot be read"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_was_changed_is_refused(change, problem):
    state = json.loads(byte_level().to_str())
    packed = json.loads(json.dumps(state))
    assert list(tokenizer.find_problems(json.dumps(packed).encode(), state)) == []
    change(packed)
    found = list(tokenizer.find_problems(json.dumps(packed).encode(), state))
    assert any(problem in one for one in found), found
