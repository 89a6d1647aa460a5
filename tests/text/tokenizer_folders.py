"""Folders as versions of transformers write the tokenizer of one vocabulary, and odder ones."""

import json
from pathlib import Path

PIECES = (
    "[PAD] [unused0] [UNK] [CLS] [SEP] [MASK] the film is good bad ##ly un ##able cafe caf ##e "
    "café Film ##é don ' t . , ! ? - / & @ # $ ( ) : ; “ … € 中 文 日 本 語 한 국 어 covid "
    "##19 1 9 "
    "drug [ ] ı i ##s ##i ##n ss stra ##ss ##e привет Привет ##т σ ##σ"
).split()
LETTERS = [mark + c for c in "abcdefghijklmnopqrstuvwxyz0123456789" for mark in ("", "##")]
CAPITALS = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
VOCABULARY = list(dict.fromkeys([*PIECES, *LETTERS, *CAPITALS]))

DRUG = {"content": "[DRUG]", "special": False, "normalized": True}
COVID = {"content": "covid19", "special": False, "normalized": True}
WORD = {"content": "filmgood", "special": False, "normalized": False, "single_word": True}
ENTITY = {"content": "<e1>", "special": True, "normalized": False}
FLAGS = {"lstrip": False, "rstrip": False, "single_word": False}


def _frame(*parts):
    """A template of a post-processor: names of special tokens, letters of texts, and types."""
    kinds = {True: "SpecialToken", False: "Sequence"}
    return [{kinds[len(name) > 1]: {"id": name, "type_id": kind}} for name, kind in parts]


_SINGLE = (("[CLS]", 0), ("A", 0), ("[SEP]", 0))
FRAME = {
    "type": "TemplateProcessing",
    "single": _frame(*_SINGLE),
    "pair": _frame(*_SINGLE, ("B", 1), ("[SEP]", 1)),
    "special_tokens": {
        name: {"id": name, "ids": [VOCABULARY.index(name)], "tokens": [name]}
        for name in ("[CLS]", "[SEP]")
    },
}
FIRST = len(VOCABULARY)  # the first id behind the vocabulary


def added(*tokens, first=FIRST):
    """Tokens as added_tokens_decoder has them, by id."""
    return {str(first + i): {**FLAGS, **token} for i, token in enumerate(tokens)}


def state(lower=True, strip=None, chinese=True, tokens=(), model=None, **changes):
    """A tokenizer.json."""
    core = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    own = [
        {"id": VOCABULARY.index(t), "content": t, "special": True, "normalized": False, **FLAGS}
        for t in core
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": own + [{"id": int(i), **token} for i, token in added(*tokens).items()],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": chinese,
            "strip_accents": strip,
            "lowercase": lower,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": FRAME,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {piece: index for index, piece in enumerate(VOCABULARY)},
            **(model or {}),
        },
        **changes,
    }


def write(folder, *, vocab=True, **files):
    """Write a folder: vocab.txt, and JSON files by name without ending."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    if vocab:
        (folder / "vocab.txt").write_text("".join(f"{p}\n" for p in VOCABULARY), encoding="utf-8")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


UNCASED, CASED = {"do_lower_case": True}, {"do_lower_case": False}

# By what is particular about them; each must have the ids that transformers gives it.
ACCEPTED = {
    "uncased": {"tokenizer_config": UNCASED},
    "cased": {"tokenizer_config": CASED},
    "keeps_accents": {"tokenizer_config": {**UNCASED, "strip_accents": False}},
    "strips_cased": {"tokenizer_config": {**CASED, "strip_accents": True}},
    "joins_chinese": {"tokenizer_config": {**UNCASED, "tokenize_chinese_chars": False}},
    "distilbert": {"tokenizer_config": {**UNCASED, "tokenizer_class": "DistilBertTokenizer"}},
    "electra": {"tokenizer_config": {**CASED, "tokenizer_class": "ElectraTokenizerFast"}},
    "both_files": {"tokenizer_config": UNCASED, "tokenizer": state()},
    "json_alone": {"vocab": False, "tokenizer_config": UNCASED, "tokenizer": state()},
    "json_alone_cased": {
        "vocab": False,
        "tokenizer_config": {**CASED, "tokenizer_class": "BertTokenizer"},
        "tokenizer": state(lower=False),
    },
    "json_alone_generic": {
        "vocab": False,
        "tokenizer_config": {"tokenizer_class": "PreTrainedTokenizerFast"},
        "tokenizer": state(strip=False),
    },
    "decoder": {"tokenizer_config": {**UNCASED, "added_tokens_decoder": added(DRUG, COVID)}},
    "json_added": {"tokenizer_config": UNCASED, "tokenizer": state(tokens=(DRUG, COVID, WORD))},
    "json_alone_added": {
        "vocab": False,
        "tokenizer_config": {**UNCASED, "added_tokens_decoder": added(WORD, COVID)},
        "tokenizer": state(tokens=(WORD, COVID)),
    },
    "special": {"tokenizer_config": {**CASED, "added_tokens_decoder": added(ENTITY, WORD)}},
    "additional": {"tokenizer_config": {**UNCASED, "additional_special_tokens": ["<e1>", "<e2>"]}},
    "legacy": {
        "tokenizer_config": UNCASED,
        "added_tokens": {"[DRUG]": FIRST, "covid19": FIRST + 1},
    },
    "legacy_special": {
        "tokenizer_config": CASED,
        "added_tokens": {"<e1>": FIRST},
        "special_tokens_map": {"additional_special_tokens": ["<e1>"], "cls_token": "[CLS]"},
    },
    "piece_as_token": {
        "tokenizer_config": {
            **UNCASED,
            "added_tokens_decoder": {
                "1": {**FLAGS, "content": "[unused0]", "special": False, "normalized": False}
            },
        }
    },
}

# Files -> what the message names.
REFUSED = {
    "unigram": (
        {"vocab": False, "tokenizer": state(model={"type": "Unigram", "vocab": [["a", -1.0]]})},
        "of the kind Unigram",
    ),
    "bpe": (
        {"vocab": False, "tokenizer": state(model={"type": "BPE", "merges": []})},
        "of the kind BPE",
    ),
    "bpe_beside_vocab": ({"tokenizer": state(model={"type": "BPE", "merges": []})}, "kind BPE"),
    "other_pieces": (
        {"tokenizer": state(model={"vocab": {"a": 0, "b": 1}})},
        r"other word pieces \(2\) than the vocabulary beside it",
    ),
    "prefix": (
        {"tokenizer": state(model={"continuing_subword_prefix": "@@"})},
        "continuing_subword_prefix is '@@'",
    ),
    "long_words": (
        {"tokenizer": state(model={"max_input_chars_per_word": 200})},
        "max_input_chars_per_word is 200",
    ),
    "unknown": ({"tokenizer": state(model={"unk_token": "<unk>"})}, "unk_token is '<unk>'"),
    "nfkc": ({"tokenizer": state(normalizer={"type": "NFKC"})}, "normalizer is 'NFKC'"),
    "no_normalizer": ({"tokenizer": state(normalizer=None)}, "normalizer is None"),
    "keeps_controls": (
        {"tokenizer": state(normalizer={"type": "BertNormalizer", "clean_text": False})},
        "normalizer.clean_text is False",
    ),
    "whitespace": (
        {"tokenizer": state(pre_tokenizer={"type": "Whitespace"})},
        "pre_tokenizer is 'Whitespace'",
    ),
    "frame": (
        {"tokenizer": state(post_processor={"type": "RobertaProcessing"})},
        "post_processor is 'RobertaProcessing'",
    ),
    "frame_without_sep": (
        {"tokenizer": state(post_processor={**FRAME, "single": FRAME["single"][:2]})},
        r"post_processor.single is '\[CLS\]0 A0'",
    ),
    "not_a_tokenizer": ({"tokenizer": {"a": 1}}, "describes no tokenizer"),
    "class": (
        {"tokenizer_config": {"tokenizer_class": "BertJapaneseTokenizer"}},
        "tokenizer_class is 'BertJapaneseTokenizer'",
    ),
    "generic_without_json": (
        {"tokenizer_config": {"tokenizer_class": "PreTrainedTokenizerFast"}},
        "tokenizer_class is 'PreTrainedTokenizerFast'",
    ),
    "own_code": (
        {"tokenizer_config": {"auto_map": {"AutoTokenizer": ["mine.py", None]}}},
        "auto_map is",
    ),
    "never_split": ({"tokenizer_config": {"never_split": ["film"]}}, "never_split is"),
    "no_words": ({"tokenizer_config": {"do_basic_tokenize": False}}, "do_basic_tokenize is False"),
    "cls": ({"tokenizer_config": {"cls_token": "<s>"}}, "cls_token is '<s>'"),
    "cls_in_map": (
        {"special_tokens_map": {"sep_token": {"content": "</s>"}}},
        "special_tokens_map.json: sep_token is '</s>'",
    ),
    "case_as_text": ({"tokenizer_config": {"do_lower_case": "yes"}}, "do_lower_case is 'yes'"),
    "gap": (
        {"tokenizer_config": {"added_tokens_decoder": added(DRUG, first=500)}},
        "has the id 500, the vocabulary gives it",
    ),
    "two_ids": (
        {
            "tokenizer_config": {"added_tokens_decoder": added(DRUG)},
            "added_tokens": {"[DRUG]": FIRST + 1},
        },
        "two files describe the added token '\\[DRUG\\]' differently",
    ),
    "two_ways": (
        {
            "tokenizer_config": {"added_tokens_decoder": added({**DRUG, "lstrip": True})},
            "tokenizer": state(tokens=(DRUG,)),
        },
        "differently",
    ),
}
