"""The model card of a packed encoder, written from what its file says of itself."""

from __future__ import annotations

from pathlib import Path

from tf_prune_ofa.encoders import BASE
from tf_prune_ofa.models.packed import MASK, Packed, sparsity

# Told in the card's own words.
_OWN = ("name", "card", "licence", "base", "base_digest", "digest", "format", "type", "version")


def packed_card(packed: Packed, path: Path) -> str:
    """Return the card's text: Markdown under a YAML head, as the Hub wants it.

    Args:
        packed: what the file holds; a `card` in its `about` is put into this one as it is.
        path: of the file.
    """
    about = packed.about
    kernels = sum(key.endswith(MASK) for key in packed.arrays)
    licence = str(about.get("licence", ""))
    # A folder's path says nothing to others, and a stranger should not read it.
    base = str(about.get("base", ""))
    base = base if "://" in base else base.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    # Names and handles are unpacked by themselves where the base is the default one.
    is_default = base == BASE
    head = ["---", "library_name: tf_prune_ofa"]
    if licence:
        head.append(f"license: {licence.lower().split(',')[0].strip()}")
    head += ["tags: [bert, sparse, pruning]", "---", ""]
    facts = {
        "version": about.get("version", "not given"),
        "zeros": f"{sparsity(packed):.1%} of the weights of {kernels} kernels",
        "file": f"`{path.name}`, {path.stat().st_size / 1e6:.2f} MB; kept weights in "
        f"{about['type']} and a bit mask; content `{about['digest'][:16]}`",
        "base": f"`{base}`, content `{about['base_digest'][:16]}`; what pruning "
        "left alone comes from there",
        "licence": licence or "not given by whoever packed it",
    } | {key: value for key, value in about.items() if key not in _OWN}
    name = about.get("name", path.stem)
    return "\n".join(
        [
            *head,
            f"# {name}",
            "",
            "A sparse encoder, pruned before any task: fine-tune it with its zeros locked.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {key} | {value} |" for key, value in facts.items()),
            "",
            *([str(about["card"]), ""] if about.get("card") else []),
            "## How to use",
            "",
            "Unpack it, or start from its repository on the Hub, `hf://user/name`:"
            if is_default
            else "Unpack it, with the base that it was made from:",
            "",
            "```",
            f"tf-prune-ofa pack_encoder --unpack={path.name} --output={name}"
            + ("" if is_default else f" --base={base}"),
            "```",
            "",
            "```python",
            "import tf_prune_ofa as ofa",
            "",
            f'student = ofa.transfer("{name}", task, teacher=teacher)',
            "```",
            "",
            "## Limits",
            "",
            "- Scores are in the card only where its maker wrote them; none is made up here.",
            "- What the base has learned of prejudice it has kept, or more: pruning is known to "
            "hurt rare cases most. Not measured.",
            "",
        ]
    )
