"""The Hugging Face Hub: models to it and from it, by its own client, `huggingface_hub`.

A handle is `hf://user/name`, with `@revision` behind it for another one than the newest; a pull
request's is `@refs/pr/1`. The client says where the Hub is (HF_ENDPOINT) and who asks (HF_TOKEN).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import sha256_of
from tf_prune_ofa.paths import MANIFEST

SCHEME = "hf://"
# The first of these that a folder of files has is the one to run.
PREFERRED = (
    "sparse_int8",
    "block_sparse_int8",
    "dense_int8",
    "dense_int4",
    "dynamic_int8",
    "float32",
)
_ENDING = ".tflite"


def push(
    files: Mapping[str, Path],
    repo: str,
    *,
    create_pr: bool = False,
    private: bool | None = None,
    token: str | None = None,
    message: str = "Upload by tf_prune_ofa",
) -> str:
    """Put files into a repository, in one commit: all of them or none.

    Args:
        files: by their names there.
        repo: "user/name"; made if it is not there, unless `create_pr`.
        create_pr: propose them in a pull request, for a repository of somebody else.
        private: of a new repository; None leaves it to the account's settings.
        token: of the account; by default the one that the client knows.
        message: of the commit.

    Returns:
        Where to look at them: of the pull request, or of the repository.

    Raises:
        UserError: a wrong name, a missing file, or the Hub refuses.
    """
    client = _client()
    repo = repo.removeprefix(SCHEME)
    if repo.count("/") != 1:
        raise UserError(f"'{repo}' is no repository of the Hub; write user/name")
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing or not files:
        raise UserError(f"there is nothing to push: {', '.join(missing) or 'no file'} is not there")
    try:
        client.utils.validate_repo_id(repo)
        api = client.HfApi(token=token)
        if not create_pr:
            api.create_repo(repo, exist_ok=True, private=private)
        parts = [
            client.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path)
            for name, path in files.items()
        ]
        info = api.create_commit(repo, parts, commit_message=message, create_pr=create_pr)
    # Its type depends on what went wrong: name, connection, permission, and on the version.
    except Exception as error:
        raise UserError(
            f"Cannot push to {SCHEME}{repo}: {error}\nCheck the name and the connection, and that "
            "you are logged in (hf auth login, or HF_TOKEN)"
        ) from error
    return info.pr_url if create_pr else f"{api.endpoint}/{repo}"


def download(handle: str, patterns: Iterable[str]) -> Path:
    """Return the folder of a repository in the client's cache, with the files that fit `patterns`.

    Args:
        handle: "user/name" or "hf://user/name", with "@revision" or without.
        patterns: such as "*.json"; the others are not downloaded.

    Raises:
        UserError: it cannot be downloaded.
    """
    client = _client()
    name, _, revision = handle.removeprefix(SCHEME).partition("@")
    try:
        folder = client.snapshot_download(
            name, revision=revision or None, allow_patterns=list(patterns)
        )
    except Exception as error:
        raise UserError(
            f"Cannot download {SCHEME}{handle.removeprefix(SCHEME)}: {error}\nCheck the name and "
            "the connection, or download the files elsewhere and give the path of their folder"
        ) from error
    return Path(folder)


def local_file(path: str | os.PathLike[str]) -> Path:
    """Return a `.tflite` file's path; one that is named by a handle is downloaded first.

    Args:
        path: of the file, or "hf://user/name" for the best file of an export there (`PREFERRED`),
            or "hf://user/name/FILE.tflite".

    Raises:
        UserError: it cannot be downloaded, or is not the file that the export wrote.
    """
    if not str(path).startswith(SCHEME):
        return Path(path)
    handle, wanted = str(path).removeprefix(SCHEME), ""
    if handle.endswith(_ENDING):
        handle, _, wanted = handle.rpartition("/")
    manifest = read_manifest(download(handle, [MANIFEST]), handle)
    if not wanted:
        found = {entry["variant"]: entry["file"] for entry in manifest["files"]}
        wanted = next((found[name] for name in PREFERRED if name in found), "")
    digests = {entry["file"]: entry["sha256"] for entry in manifest["files"]}
    if wanted not in digests:
        raise UserError(f"{SCHEME}{handle} has no file {wanted}; it has {', '.join(digests)}")
    file = download(handle, [wanted]) / wanted
    if not file.is_file() or sha256_of(file) != digests[wanted]:
        raise UserError(
            f"{SCHEME}{handle}/{wanted} is not the file that its {MANIFEST} names; do not use it"
        )
    return file


def read_manifest(folder: Path, handle: str) -> dict[str, Any]:
    """Return the manifest of an export that came from the Hub.

    Raises:
        UserError: there is none, or it is none.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for entry in manifest["files"]:
            name = entry["file"]
            if name != Path(name).name or not name.endswith(_ENDING) or not entry["variant"]:
                raise ValueError(f"it names {name!r}")
            bytes.fromhex(entry["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{SCHEME}{handle} holds no files of this package: its {MANIFEST} is missing or damaged"
            f" ({error}). Give the repository of an export"
        ) from error
    return manifest


def _client() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.utils
    except ImportError as error:
        raise UserError(
            "The Hub's client is not installed. Run: pip install huggingface_hub"
        ) from error
    return huggingface_hub
