"""BERT: token types, a pooler, WordPiece."""

from __future__ import annotations

from tf_prune_ofa.architectures.family import BIAS, DENSE, NORM, TABLE, Family, Rows

# Later families kept these names.
SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
}
NUMBERS = {
    "layer_norm_epsilon": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
EMBEDDINGS: Rows = (
    ("embeddings/word", "embeddings.word_embeddings", TABLE),
    ("embeddings/position", "embeddings.position_embeddings", TABLE),
    ("embeddings/type", "embeddings.token_type_embeddings", TABLE),
    ("embeddings/norm", "embeddings.LayerNorm", NORM),
)
# Of families whose classifier reads the first token through a layer of its own.
TWO_LAYER_HEADS: Rows = (
    ("token_classifier", "classifier", DENSE),
    ("classifier/pre", "classifier.dense", DENSE),
    ("classifier", "classifier.out_proj", DENSE),
    ("span", "qa_outputs", DENSE),
)
LAYER: Rows = (
    ("attention/query", "attention.self.query", DENSE),
    ("attention/key", "attention.self.key", DENSE),
    ("attention/value", "attention.self.value", DENSE),
    ("attention/output", "attention.output.dense", DENSE),
    ("attention/norm", "attention.output.LayerNorm", NORM),
    ("ffn/intermediate", "intermediate.dense", DENSE),
    ("ffn/output", "output.dense", DENSE),
    ("ffn/norm", "output.LayerNorm", NORM),
)

BERT = Family(
    model_type="bert",
    title="BERT",
    class_prefix="Bert",
    tensor_prefix="bert",
    token_types=True,
    first_token="pooler",
    sizes=SIZES,
    numbers=NUMBERS,
    activation="hidden_act",
    more_config={
        "classifier_dropout": None,
        "position_embedding_type": "absolute",
        "use_cache": True,
    },
    tensors=(
        *EMBEDDINGS,
        ("pooler", "pooler.dense", DENSE),
        ("mlm/transform", "cls.predictions.transform.dense", DENSE),
        ("mlm/norm", "cls.predictions.transform.LayerNorm", NORM),
        ("mlm/decoder", "cls.predictions", BIAS),
        ("nsp", "cls.seq_relationship", DENSE),
        ("token_classifier", "classifier", DENSE),
        ("classifier", "classifier", DENSE),
        ("span", "qa_outputs", DENSE),
    ),
    layer_tensors=LAYER,
    layer_prefix="encoder.layer",
    decoder_matrix=("cls.predictions.decoder.weight",),
    # The decoder's bias has two names in some files.
    renamed={"cls.predictions.decoder.bias": "cls.predictions.bias"},
    tokenizer_class="BertTokenizer",
    keras_class=("BertBackbone", "gelu_tanh"),
)
