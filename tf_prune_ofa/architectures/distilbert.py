"""DistilBERT: neither token types nor a pooler, WordPiece."""

from __future__ import annotations

from tf_prune_ofa.architectures.bert import EMBEDDINGS
from tf_prune_ofa.architectures.family import BIAS, DENSE, NORM, Family

DISTILBERT = Family(
    model_type="distilbert",
    title="DistilBERT",
    class_prefix="DistilBert",
    tensor_prefix="distilbert",
    token_types=False,
    first_token="relu",
    sizes={
        "vocab_size": "vocab_size",
        "hidden_size": "dim",
        "num_layers": "n_layers",
        "num_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "max_positions": "max_position_embeddings",
    },
    numbers={"dropout": "dropout", "attention_dropout": "attention_dropout"},
    activation="activation",
    # The two dropouts are transformers' own defaults; this encoder has no such settings.
    more_config={
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
    },
    tensors=(
        *(row for row in EMBEDDINGS if row[0] != "embeddings/type"),
        ("mlm/transform", "vocab_transform", DENSE),
        ("mlm/norm", "vocab_layer_norm", NORM),
        ("mlm/decoder", "vocab_projector", BIAS),
        ("token_classifier", "classifier", DENSE),
        ("classifier/pre", "pre_classifier", DENSE),
        ("classifier", "classifier", DENSE),
        ("span", "qa_outputs", DENSE),
    ),
    layer_tensors=(
        ("attention/query", "attention.q_lin", DENSE),
        ("attention/key", "attention.k_lin", DENSE),
        ("attention/value", "attention.v_lin", DENSE),
        ("attention/output", "attention.out_lin", DENSE),
        ("attention/norm", "sa_layer_norm", NORM),
        ("ffn/intermediate", "ffn.lin1", DENSE),
        ("ffn/output", "ffn.lin2", DENSE),
        ("ffn/norm", "output_layer_norm", NORM),
    ),
    layer_prefix="transformer.layer",
    decoder_matrix=("vocab_projector.weight",),
    tokenizer_class="DistilBertTokenizer",
    keras_class=("DistilBertBackbone", "gelu_erf"),
)
