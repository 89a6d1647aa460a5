"""ELECTRA: BERT's layers behind embeddings that may be narrower, no pooler, WordPiece."""

from __future__ import annotations

from tf_prune_ofa.architectures.bert import (
    BERT,
    EMBEDDINGS,
    LAYER,
    NUMBERS,
    SIZES,
    TWO_LAYER_HEADS,
)
from tf_prune_ofa.architectures.family import BIAS, DENSE, NORM, Family

ELECTRA = Family(
    model_type="electra",
    title="ELECTRA",
    class_prefix="Electra",
    tensor_prefix="electra",
    token_types=True,
    first_token="gelu",
    sizes={**SIZES, "embedding_size": "embedding_size"},
    numbers=NUMBERS,
    activation="hidden_act",
    more_config=BERT.more_config,
    tensors=(
        *EMBEDDINGS,
        ("embeddings/project", "embeddings_project", DENSE),
        ("mlm/transform", "generator_predictions.dense", DENSE),
        ("mlm/norm", "generator_predictions.LayerNorm", NORM),
        ("mlm/decoder", "generator_lm_head", BIAS),
        *TWO_LAYER_HEADS,
    ),
    layer_tensors=LAYER,
    layer_prefix="encoder.layer",
    decoder_matrix=("generator_lm_head.weight",),
    # The discriminator's own head, which tells replaced words; no task starts from it.
    no_weights=("embeddings.position_ids", "discriminator_predictions."),
    head_classes={"ElectraForPreTraining": None},
    mlm_size="embedding_size",
    tokenizer_class="ElectraTokenizer",
)
