"""RoBERTa and XLM-R: BERT's layers without token types, positions from row 2, BPE or Unigram."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tf_prune_ofa.architectures.bert import (
    BERT,
    EMBEDDINGS,
    LAYER,
    NUMBERS,
    SIZES,
    TWO_LAYER_HEADS,
)
from tf_prune_ofa.architectures.family import BIAS, DENSE, NORM, Family, Weights

# The rows in front belong to no text: position 0 is never used, 1 is that of padding.
_OFFSET = 2
_POSITION, _TYPE = "embeddings/position/embeddings", "embeddings/type/embeddings"


def _after_reading(weights: Weights) -> Weights:
    """Take off the rows in front, and put the one token type where it is always added."""
    weights = dict(weights)
    types = weights.pop(_TYPE, None)
    if _POSITION in weights:
        positions = weights[_POSITION][_OFFSET:]
        weights[_POSITION] = positions if types is None else positions + types[0]
    return weights


def _before_writing(weights: Weights) -> Weights:
    """Give the file its rows in front, and a token type that adds nothing."""
    positions = weights[_POSITION]
    front = np.zeros((_OFFSET, positions.shape[1]), np.float32)
    return {
        **weights,
        _POSITION: np.concatenate([front, positions]),
        _TYPE: np.zeros((1, positions.shape[1]), np.float32),
    }


ROBERTA = Family(
    model_type="roberta",
    title="RoBERTa",
    class_prefix="Roberta",
    tensor_prefix="roberta",
    token_types=False,
    first_token="tanh",
    sizes={ours: theirs for ours, theirs in SIZES.items() if ours != "type_vocab_size"},
    numbers=NUMBERS,
    activation="hidden_act",
    more_config={
        **BERT.more_config,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "type_vocab_size": 1,
    },
    required_config={"type_vocab_size": 1},
    tensors=(
        *EMBEDDINGS,
        ("pooler", "pooler.dense", DENSE),
        ("mlm/transform", "lm_head.dense", DENSE),
        ("mlm/norm", "lm_head.layer_norm", NORM),
        ("mlm/decoder", "lm_head", BIAS),
        *TWO_LAYER_HEADS,
    ),
    layer_tensors=LAYER,
    layer_prefix="encoder.layer",
    decoder_matrix=("lm_head.decoder.weight",),
    renamed={"lm_head.decoder.bias": "lm_head.bias"},
    position_offset=_OFFSET,
    after_reading=_after_reading,
    before_writing=_before_writing,
    tokenizers=("BPE",),
    tokenizer_class="RobertaTokenizer",
)
XLM_ROBERTA = replace(
    ROBERTA,
    model_type="xlm-roberta",
    title="XLM-R",
    class_prefix="XLMRoberta",
    tokenizers=("Unigram",),
    tokenizer_class="XLMRobertaTokenizer",
)
