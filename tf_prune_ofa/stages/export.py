"""Export: the `.tflite` files of a model, one for each variant, with a manifest and a card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tf_prune_ofa.config import ExportSettings
from tf_prune_ofa.conversion import shared_rows
from tf_prune_ofa.conversion.convert import to_float32
from tf_prune_ofa.conversion.variants import write_variants
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs import post_training
from tf_prune_ofa.jobs.cards import refresh_cards
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.task_models import kind_in_folder, pruned_masks, task_model, word_table
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.models.checkpoint import digest_of
from tf_prune_ofa.pruning.lock import Masks, assert_same_zeros
from tf_prune_ofa.quant.activations import Activations, of_folder
from tf_prune_ofa.tasks.spans import Spans
from tf_prune_ofa.text.json_tokenizer import JsonTokenizer
from tf_prune_ofa.text.mediapipe import other_tokens
from tf_prune_ofa.text.opening import tokenizer_of
from tf_prune_ofa.text.trimming import kept_pieces, pieces_with_rows, special_pieces
from tf_prune_ofa.text.wordpiece import WordPiece, tokenizer_settings
from tf_prune_ofa.tflite.text_settings import TextSettings
from tf_prune_ofa.variants import STATIC_VARIANTS, USUAL_VARIANTS


def run(settings: ExportSettings, context: Context) -> dict[str, Any]:
    """Write the files; return the manifest's figures."""
    start, recipe_inputs = context.results[settings.start], context.recipe_inputs
    words = settings.vocabulary
    texts, more = (None, []) if words.keep == "all" else recipe_inputs.texts_to_learn(words.texts)
    manifest = export_folder(
        start.model_folder,
        context.folder,
        sequence_length=settings.sequence_length,
        variants=settings.variants,
        activations=of_folder(start.folder),
        masks=pruned_masks(context, settings.start),
        text_settings=recipe_inputs.kind.text_settings(**recipe_inputs.tokenizer_settings),
        mediapipe=settings.mediapipe,
        vocabulary_texts=texts,
        more_texts=more,
        others=words.others,
        at_least=words.at_least,
        size=words.size,
        words=settings.words,
    )
    refresh_cards(context)
    return {entry["variant"]: _sizes(entry) for entry in manifest["files"]}


def export_folder(
    folder: Path,
    out_dir: Path,
    *,
    sequence_length: int,
    variants: Sequence[str] = USUAL_VARIANTS,
    activations: Activations | None = None,
    calibration_texts: post_training.Texts = (),
    int8_attention: bool = True,
    masks: Masks | None = None,
    text_settings: TextSettings | None = None,
    mediapipe: Literal["warn", "same"] = "warn",
    vocabulary_texts: Sequence[str] | None = None,
    more_texts: Sequence[str] = (),
    others: Literal["split", "nearest"] = "split",
    at_least: int = 1,
    size: int = 0,
    words: Literal["int8", "int4"] = "int8",
) -> dict[str, Any]:
    """Export a task model from its Hugging Face folder; return the manifest.

    Args:
        folder: the model, with its vocabulary.
        out_dir: where the files go.
        sequence_length: fixed S of every file.
        variants: which files to write.
        activations: of a quantize stage; needed for the static variants, unless there are
        calibration_texts: texts, or pairs of texts, to measure them on (post-training
            quantization, see `post_training`); of a model for questions pairs.
        int8_attention: whether those ranges are to make the products inside attention INT8, too.
        masks: the pattern, which must be that of the model; none is not checked.
        text_settings: written into the files for the classes that take raw text; None means what
            the folder says of its tokenizer, and the usual windows.
        mediapipe: what to do where MediaPipe makes other tokens of a text: "warn", or refuse all
            but the "same".
        vocabulary_texts: only the word pieces that these use have rows of their own; see
            `text.trimming`. None: all of them.
        more_texts: further ones, as `text.trimming.pieces_with_rows` takes them.
        others: what becomes of the rest: "split" into shorter pieces, or on the "nearest" row; see
            `config.VocabularySettings`.
        at_least: times that a piece must be used to stay.
        size: of the vocabulary that is left; 0 for no limit.
        words: of the table of words in all variants but float32.

    Raises:
        UserError: the pattern is broken, MediaPipe's tokens differ and must not, static INT8 does
            not suit the model (`post_training`), or see `conversion.variants.write_variants`.
    """
    if calibration_texts and not set(STATIC_VARIANTS) & set(variants):
        raise UserError(
            f"calibration texts are for {', '.join(STATIC_VARIANTS)}, and the variants are "
            f"{', '.join(variants)}. Leave the texts out, or add a static variant."
        )
    kind, _ = kind_in_folder(folder)
    text_settings = text_settings or kind.settings_in(**tokenizer_settings(folder))
    labels = huggingface.read_labels(folder)
    wordpiece = tokenizer_of(folder)
    found = other_tokens(text_settings.tokenizer, wordpiece.kind)
    _compare_with_mediapipe(found, folder, must_be_same=mediapipe == "same", say=labels)
    if activations is not None and activations.weights:
        digest = digest_of(huggingface.read_weights(folder))
        activations.require_same_weights(digest, f"the model in {folder}")
    kept = own = None
    if vocabulary_texts is not None and others == "nearest":
        own = pieces_with_rows(
            wordpiece, vocabulary_texts, more_texts, at_least=at_least, size=size
        )
        print(f"  {len(own):,} of {len(wordpiece.pieces):,} word pieces have rows", flush=True)
    elif vocabulary_texts is not None:
        used = [*vocabulary_texts, *more_texts]
        kept = kept_pieces(wordpiece, used, at_least=at_least, size=size)
        print(f"  {len(kept):,} of {len(wordpiece.pieces):,} word pieces stay", flush=True)
        pieces = [wordpiece.pieces[index] for index in kept]
        wordpiece = WordPiece(pieces, **tokenizer_settings(folder))
    model = task_model(folder, sequence_length=sequence_length, kept=kept)
    if masks:
        assert_same_zeros(dense_kernels(model), masks, where=f"the model in {folder}")
    if calibration_texts and issubclass(kind, Spans) and isinstance(calibration_texts[0], str):
        raise UserError(
            f"the model in {folder} answers questions on a text, and the calibration texts are "
            "single ones: it would be measured on what it never sees. Give pairs, a question and "
            "its text with a tab between, and --calibration_pairs."
        )
    if activations is None and calibration_texts:
        activations = post_training.activations_of(
            to_float32(model),
            calibration_texts,
            wordpiece,
            sequence_length=sequence_length,
            has_types="input_type_ids" in model.input_names,
            int8_attention=int8_attention,
            kind=kind,
        )
    return write_variants(
        model,
        activations.ranges if activations else None,
        out_dir,
        variants,
        vocab=wordpiece.state if isinstance(wordpiece, JsonTokenizer) else wordpiece.pieces,
        labels=labels,
        pruned_layers=masks or {},
        outlier_scales=activations.outlier_scales if activations else None,
        text_settings=text_settings,
        words=words,
        shared=None
        if own is None
        else shared_rows.nearest(word_table(model), own, special_pieces(wordpiece)),
        on_file=lambda name: print(f"  writing {name}", flush=True),
    )


def _compare_with_mediapipe(
    found: Sequence[str], folder: Path, *, must_be_same: bool, say: object
) -> None:
    """Say, or refuse, that MediaPipe's tokens are others; its classifier takes no other models."""
    if found and must_be_same:
        raise UserError(
            f"MediaPipe makes other tokens than the tokenizer of {folder} of texts with "
            f"{'; '.join(found)}. Train with model.clean_up: mediapipe for the same tokens, or "
            "export with mediapipe: warn"
        )
    if found and say:
        print(f"  note: in MediaPipe, other tokens for {'; '.join(found)} (docs/tasks.md)")


def _sizes(entry: dict[str, Any]) -> dict[str, Any]:
    names = ("file", "sha256", "size_bytes", "gzip_bytes", "pruned_bytes")
    figures = {key: entry[key] for key in names}
    return figures | {"sparse_layers": len(entry["sparse_layers"])}
