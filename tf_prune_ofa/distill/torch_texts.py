"""Batches of token ids for a long run: texts of several sources in stated shares, by length.

A file of texts is an .npz: `ids`, all texts one after another; `lengths` of each; `second`, where
its second segment begins (its length where it has none). `write_texts` makes one.

Legend: B batch · S sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

LENGTHS = (16, 32, 48, 64, 96, 128, 192, 256)  # that batches are filled up to
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # ids, types, mask, [B, S] each


class Texts:
    """The texts of one file."""

    def __init__(self, path: str | Path) -> None:
        """Read the file; texts longer than the last of `LENGTHS` are a ValueError."""
        with np.load(path) as file:
            self._ids, self.lengths, self._second = file["ids"], file["lengths"], file["second"]
        if self.lengths.max() > LENGTHS[-1]:
            raise ValueError(f"{path} has texts of more than {LENGTHS[-1]} tokens")
        self._ends = np.cumsum(self.lengths, dtype=np.int64)
        fits = np.searchsorted(LENGTHS, self.lengths)
        self.of_length = [np.flatnonzero(fits == place) for place in range(len(LENGTHS))]
        tokens = np.array([self.lengths[members].sum() for members in self.of_length], float)
        self._shares = tokens / tokens.sum()

    def draw(self, rng: np.random.Generator, tokens: int) -> Batch:
        """Return texts of about one length, at most about so many tokens, padding included."""
        place = rng.choice(len(LENGTHS), p=self._shares)
        members = self.of_length[place]
        count = min(len(members), max(1, tokens // LENGTHS[place]))
        return self.batch(rng.choice(members, count, replace=False), LENGTHS[place])

    def batch(self, indices: Sequence[int] | np.ndarray, length: int) -> Batch:
        """Return these texts, each filled up to `length`."""
        indices = np.asarray(indices)
        places, sizes = np.arange(length)[None], self.lengths[indices][:, None]
        is_token = places < sizes
        begins = self._ends[indices][:, None] - sizes
        ids = np.where(is_token, self._ids[np.where(is_token, begins + places, 0)], 0)
        types = is_token & (places >= self._second[indices][:, None])
        return ids.astype(np.int64), types.astype(np.int64), is_token.astype(np.float32)


class Mixture:
    """Batches by step: the same ones for a seed, whenever a run was killed and went on."""

    def __init__(
        self,
        sources: Mapping[str, Texts],
        shares: Mapping[str, float],
        tokens: int,
        seed: int,
        replaced: float = 0.0,
    ) -> None:
        """Mix sources.

        Args:
            sources: texts by name.
            shares: of the batches, by the same names; they add up to 1.
            tokens: of a batch.
            seed: of all draws.
            replaced: of a batch's tokens at most this share becomes other tokens of the batch; each
                batch draws its own share from 0 up to it. A teacher says what any text means, so
                texts that come again and again come as others.
        """
        self._sources, self._shares = sources, shares
        self._tokens, self._seed, self._replaced = tokens, seed, replaced

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, all of one source."""
        rng = np.random.default_rng([self._seed, step])
        name = rng.choice(list(self._shares), p=list(self._shares.values()))
        ids, types, mask = self._sources[name].draw(rng, self._tokens)
        if self._replaced:
            ids = _with_others(ids, mask, rng.uniform(0, self._replaced), rng)
        return ids, types, mask


def _with_others(
    ids: np.ndarray, mask: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Return ids where a share of the tokens is drawn from all of the batch's; each first stays."""
    is_token = mask > 0
    is_token[:, 0] = False
    chosen = is_token & (rng.random(ids.shape) < share)
    ids = ids.copy()
    ids[chosen] = rng.choice(ids[is_token], np.count_nonzero(chosen))
    return ids


def write_texts(path: str | Path, texts: Iterable[tuple[np.ndarray, int]]) -> None:
    """Write texts as (ids, where the second segment begins)."""
    parts = list(texts)
    np.savez(
        path,
        ids=np.concatenate([ids for ids, _ in parts]).astype(np.uint16),
        lengths=np.array([len(ids) for ids, _ in parts], np.int32),
        second=np.array([second for _, second in parts], np.int32),
    )
