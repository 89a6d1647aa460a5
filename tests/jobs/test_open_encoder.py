"""A stage that starts from an encoder by its name."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_models import ENCODER

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.other_models import open_encoder
from tf_prune_ofa.models import bert, huggingface, presets
from tf_prune_ofa.text.wordpiece import WordPiece

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
TOKENIZER = {"lower_case": True, "strip_accents": None, "split_chinese": True}


def folder_of(place, config=ENCODER, pieces=PIECES):
    vocab = place / f"{len(pieces)}{pieces[-1]}.txt"
    vocab.write_text("".join(f"{piece}\n" for piece in pieces))
    folder = place / f"encoder_{config.intermediate_size}_{pieces[-1]}"
    model = bert.build_model(config, None)
    huggingface.write_folder(folder, model, config, None, vocab, tokenizer=TOKENIZER)
    return folder


def recipe_inputs_of(folder):
    source = presets.open_pretrained(folder)
    wordpiece = WordPiece(source.vocab_path, **source.tokenizer)
    return SimpleNamespace(encoder=source.config, wordpiece=wordpiece)


def test_only_weights_may_differ(tmp_path):
    own = folder_of(tmp_path)
    recipe_inputs = recipe_inputs_of(own)
    found = open_encoder(str(own), recipe_inputs).read_weights()
    wanted = presets.open_pretrained(own).read_weights()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_what_a_recipe_chooses_of_its_encoder_is_no_difference(tmp_path):
    own = folder_of(tmp_path)
    recipe_inputs = recipe_inputs_of(own)
    recipe_inputs.encoder = replace(
        recipe_inputs.encoder, dropout=0.3, attention_dropout=0.2, activation="gelu_tanh"
    )
    assert open_encoder(str(own), recipe_inputs).folder == own


def test_other_sizes_or_words_are_refused(tmp_path):
    recipe_inputs = recipe_inputs_of(folder_of(tmp_path))
    wide = folder_of(tmp_path, replace(ENCODER, intermediate_size=32))
    words = folder_of(tmp_path, pieces=[*PIECES[:-1], "z"])
    for other in (wide, words):
        with pytest.raises(UserError, match="other sizes or another vocabulary"):
            open_encoder(str(other), recipe_inputs)
