import numpy as np
import pytest
import reference

from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.bert import Classification
from tf_prune_ofa.models.hf_config import head_of_class

PARITY = 5e-5
SIZES = [(16, 16, 2, 1), (32, 16, 4, 2), (24, 48, 2, 3)]


def described(embedding, hidden, heads, layers):
    return {
        "architectures": ["ElectraForSequenceClassification"],
        "model_type": "electra",
        "vocab_size": 40,
        "embedding_size": embedding,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 3 * hidden,
        "max_position_embeddings": 20,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
    }


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_logits_are_those_of_the_reference(sizes, tmp_path):
    config, hidden = described(*sizes), sizes[1]
    extra = {
        "classifier.dense.weight": (hidden, hidden),
        "classifier.dense.bias": (hidden,),
        "classifier.out_proj.weight": (3, hidden),
        "classifier.out_proj.bias": (3,),
    }
    if sizes[0] != hidden:
        project = "electra.embeddings_project"
        extra |= {f"{project}.weight": (hidden, sizes[0]), f"{project}.bias": (hidden,)}
    tensors = reference.random_tensors("electra.", config, extra=extra, embedding_size=sizes[0])
    folder = reference.write(tmp_path / "in", tensors, config)
    model = bert.build_model(huggingface.read_config(folder), Classification(3))
    assert huggingface.load_weights(model, folder) == huggingface.LoadReport()

    ids, mask, types = reference.batch(40)
    positions = np.arange(ids.shape[1])[None]
    first = reference.encode(tensors, "electra.", config, ids, mask, types, positions)[:, 0]
    pre = reference.gelu(reference.dense(tensors, "classifier.dense", first))
    wanted = reference.dense(tensors, "classifier.out_proj", pre)
    found = model({"input_word_ids": ids, "input_mask": mask, "input_type_ids": types})["logits"]
    assert np.abs(found - wanted).max() < PARITY


def test_the_discriminator_s_own_head_is_left_out(tmp_path):
    config = {**described(*SIZES[0]), "architectures": ["ElectraForPreTraining"]}
    extra = {"discriminator_predictions.dense.weight": (16, 16)}
    tensors = reference.random_tensors("electra.", config, extra=extra, embedding_size=16)
    folder = reference.write(tmp_path / "in", tensors, config)
    assert head_of_class(folder) is None
    assert not any("discriminator" in name for name in huggingface.read_weights(folder))
