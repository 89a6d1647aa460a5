"""Models and files to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from tf_prune_ofa import hub
from tf_prune_ofa.api.results import Exported, Files, open_exported
from tf_prune_ofa.paths import CARD, MANIFEST


def push_to_hub(
    files: Files | Exported | str | Path,
    repo: str,
    *,
    create_pr: bool = False,
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Put exported files with their manifest and model card on the Hub, in one commit.

    `ofa.open("hf://user/name")` gets them back; `ofa.TextClassifier("hf://user/name")` runs them.

    Args:
        files: from `export` or `open`, or the folder of an export.
        repo: "user/name"; made if it is not there.
        create_pr: propose them in a pull request instead, for a repository that is there.
        private: of a new repository.
        token: of the account; by default the one that `hf auth login` left, or HF_TOKEN.

    Returns:
        Where to look at them.

    Raises:
        UserError: files that are not those of their manifest, or the Hub refuses.
    """
    folder = Path(files) if isinstance(files, str | Path) else files.out_dir
    found = open_exported(folder)
    parts = {path.name: path for path in found.paths.values()}
    parts |= {name: folder / name for name in (MANIFEST, CARD) if (folder / name).is_file()}
    return hub.push(
        parts, repo, create_pr=create_pr, private=private, token=token, message="Add exported files"
    )
