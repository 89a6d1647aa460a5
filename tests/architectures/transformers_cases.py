"""Compares ELECTRA, RoBERTa and XLM-R with transformers: outputs of random weights, and token ids.

    python tests/architectures/transformers_cases.py write FOLDER    # with transformers and PyTorch
    python tests/architectures/transformers_cases.py compare FOLDER  # with this package

The two run in environments of their own. 13 models a family: four sizes, all heads.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from awkward_texts import awkward_texts

LIMIT = 5e-5
LENGTH = 20
# Hidden size, layers, heads, intermediate size, ELECTRA's width of embeddings.
SIZES = ((32, 2, 2, 64, 32), (48, 3, 4, 100, 16), (128, 4, 2, 512, 64), (256, 6, 8, 1024, 128))
# End of the class's name -> its output there, and here.
HEADS = {
    "Model": ("last_hidden_state", "sequence_output"),
    "ForSequenceClassification": ("logits", "logits"),
    "ForMaskedLM": ("logits", "mlm_logits"),
    "ForQuestionAnswering": ("start_logits", "start_logits"),
}
FAMILIES = {"electra": "Electra", "roberta": "Roberta", "xlm-roberta": "XLMRoberta"}
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def cases() -> list[tuple[str, int, str]]:
    """Returns family, number of the size and head; the largest size as a classifier alone."""
    return [
        (family, size, head)
        for family in FAMILIES
        for size in range(len(SIZES))
        for head in HEADS
        if size < 3 or head == "ForSequenceClassification"
    ]


def inputs(words: int, size: int, family: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns ids, mask and token types of three texts of different lengths."""
    mask = (np.arange(LENGTH) < np.array([LENGTH, 13, 4])[:, None]).astype(np.int64)
    ids = np.random.default_rng(size).integers(5, words, mask.shape)
    types = np.zeros_like(ids)
    if family == "electra":
        types[0, 9:] = 1
    return np.where(mask == 1, ids, 0 if family == "electra" else 1), mask, types


def write(folder: Path) -> None:
    """Writes models by transformers with their outputs, and its token ids of awkward texts."""
    import torch
    import transformers

    generator = torch.Generator().manual_seed(0)
    tokenizers, outputs = _tokenizers(), {}
    for family, size, head in cases():
        tokenizer = tokenizers[family]
        hidden, layers, heads, inner, narrow = SIZES[size]
        config: dict[str, Any] = {
            "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": inner, "vocab_size": len(tokenizer),
            "max_position_embeddings": 66, "type_vocab_size": 2,
        }  # fmt: skip
        if head == "ForSequenceClassification":
            config["num_labels"] = 3
        if family == "electra":
            config["embedding_size"] = narrow
        else:
            config |= {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1,
                       "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip
        prefix = FAMILIES[family]
        made = getattr(transformers, f"{prefix}Config")(**config)
        model = getattr(transformers, prefix + head)(made).eval()
        with torch.no_grad():
            for name, value in model.named_parameters():
                middle = (
                    1.0 if name.lower().endswith(("layernorm.weight", "layer_norm.weight")) else 0
                )
                value.copy_(torch.randn(value.shape, generator=generator) * 0.15 + middle)
            model.tie_weights()
            given = [torch.tensor(one) for one in inputs(len(tokenizer), size, family)]
            found = model(*given[:2], token_type_ids=given[2])[HEADS[head][0]]
        name = f"{family}_{size}_{head}"
        outputs[name] = found.numpy()
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        print(name, flush=True)
    np.savez(folder / "outputs.npz", **outputs)
    texts = awkward_texts(5000, seed=21)
    ids = {}
    for family in FAMILIES:
        own = transformers.AutoTokenizer.from_pretrained(folder / f"{family}_0_Model")
        plain = own(texts, add_special_tokens=False, split_special_tokens=True)
        framed = own(texts[:200], texts[200:400], split_special_tokens=True)
        ids[family] = [plain["input_ids"], framed["input_ids"]]
    (folder / "ids.json").write_text(json.dumps({"texts": texts, "ids": ids}))


def _tokenizers() -> dict[str, Any]:
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    texts = awkward_texts(3000, seed=5) + ["the film is a good one , not bad", "straße привет"] * 20
    bytes_first = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe, unigram = Tokenizer(models.BPE()), Tokenizer(models.Unigram())
    bpe.pre_tokenizer, unigram.pre_tokenizer = bytes_first, pre_tokenizers.Metaspace()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=600, special_tokens=[*SPECIAL, "<mask>"], initial_alphabet=alphabet,
        show_progress=False,
    ))  # fmt: skip
    unigram.train_from_iterator(texts, trainers.UnigramTrainer(
        vocab_size=500, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    ))  # fmt: skip
    merges = json.loads(bpe.to_str())["model"]
    pieces = [tuple(piece) for piece in json.loads(unigram.to_str())["model"]["vocab"]]
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,!?'"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, "the", "film", "good", "##ing"]
    words += [f"##{letter}" for letter in letters]
    return {
        "electra": transformers.BertTokenizer(vocab={word: i for i, word in enumerate(words)}),
        "roberta": transformers.RobertaTokenizer(
            vocab=merges["vocab"], merges=[tuple(merge) for merge in merges["merges"]]
        ),
        "xlm-roberta": transformers.XLMRobertaTokenizer(vocab=[*pieces, ("<mask>", 0.0)]),
    }


def compare(folder: Path) -> int:
    """Prints the largest difference of each model, and how many texts differ; 1 above the limit."""
    from tf_prune_ofa.models import bert, huggingface, presets
    from tf_prune_ofa.text.opening import tokenizer_of

    code = 0
    content = json.loads((folder / "ids.json").read_text())
    for family, (plain, framed) in content["ids"].items():
        ours, texts = tokenizer_of(folder / f"{family}_0_Model"), content["texts"]
        single = [ids.tolist() for ids in ours.tokenize(texts)]
        pairs = ours.encode(texts[:200], texts[200:400], max_length=9999).ids
        differ = sum(a != b for a, b in zip(single, plain, strict=True))
        differ += sum(a.tolist() != b for a, b in zip(pairs, framed, strict=True))
        code |= differ > 0
        print(f"{family}: {ours.kind}, {differ} of {len(plain)} texts and 200 pairs differ")
    heads = {
        "Model": None, "ForSequenceClassification": bert.Classification(3),
        "ForMaskedLM": bert.MaskedLM(), "ForQuestionAnswering": bert.SpanQA(),
    }  # fmt: skip
    with np.load(folder / "outputs.npz") as outputs:
        for family, size, head in cases():
            name = f"{family}_{size}_{head}"
            source = presets.open_pretrained(folder / name)
            model = bert.build_model(source.config.without_dropout(), heads[head])
            huggingface.load_weights(model, folder / name)
            ids, mask, types = inputs(source.config.vocab_size, size, family)
            positions = np.tile(np.arange(LENGTH), (len(ids), 1))
            given = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": types,
                     "mlm_positions": positions}  # fmt: skip
            batch = {key: given[key].astype(np.int32) for key in model.input}
            found, wanted = model(batch)[HEADS[head][1]].numpy(), outputs[name]
            apart = np.abs(found - wanted)
            if head != "ForSequenceClassification":
                apart = apart[mask == 1]
            code |= apart.max() > LIMIT
            print(f"{name}: {apart.max():.1e} of {np.abs(wanted).max():.1f}", flush=True)
    return int(code)


def main() -> int:
    """Runs one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("write", "compare"))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    if given.command == "write":
        given.folder.mkdir(parents=True, exist_ok=True)
        write(given.folder)
        return 0
    return compare(given.folder)


if __name__ == "__main__":
    sys.exit(main())
