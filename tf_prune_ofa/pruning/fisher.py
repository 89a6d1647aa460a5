"""The block-wise empirical Fisher of oBERT (Kurtic et al. 2022, section 3), in NumPy.

F = d · I + (1/m) Gᵀ G in each block of B weights, G the m gradients of them. With fewer gradients
than weights in a block, neither F nor its inverse is needed for scores: by Woodbury's identity

    F⁻¹ = (I - Gᵀ (m d I + G Gᵀ)⁻¹ G) / d,

a system of m equations a block. All is computed some blocks at a time, in float64: the
difference above can be 1e-7 of its terms.

Legend: K blocks at a time · B weights of a block · m gradients · d dampening.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_NUMBERS_AT_A_TIME = 2**23  # 64 MB


class BlockFisher:
    """The Fisher of one kernel.

    A block is B neighbours in the order outputs x inputs, as in the paper: weights of one output.
    """

    def __init__(self, gradients: np.ndarray, block: int, dampening: float) -> None:
        """Keep the gradients.

        Args:
            gradients: [m, in, out].
            block: B; the last block is filled up with weights that have no gradient.
            dampening: d.
        """
        self.gradients = gradients
        self.block = block
        self.dampening = dampening

    def scores(self, kernel: np.ndarray) -> np.ndarray:
        """Return w² / (2 [F⁻¹]_ii) of each weight [in, out]."""
        parts = [
            weights**2 / (2 * self._diagonal(gradients))
            for weights, gradients in self._chunks(kernel)
        ]
        return self._whole(parts, kernel)

    def compensated(self, kernel: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Return the kernel [in, out] with zeros where pruned and the kept weights moved.

        In each block, with Q the pruned weights: δ = -F⁻¹[:, Q] (F⁻¹[Q, Q])⁻¹ w_Q, the least
        increase of the loss's second-order model. Weights that were zero before ask for nothing.
        """
        flags = kept.astype(float)
        parts = []
        chunks = zip(self._chunks(kernel), self._chunks(flags), strict=True)
        for (weights, gradients), (keeps, _) in chunks:
            inverse = self._inverse(gradients)  # [K, B, B]
            gone = 1 - keeps
            # The system of Q alone: identity where nothing is pruned.
            system = inverse * gone[:, :, None] * gone[:, None, :]
            system += np.eye(self.block) * keeps[:, :, None]
            forces = np.linalg.solve(system, (weights * gone)[..., None])
            parts.append((weights - (inverse @ forces)[..., 0]) * keeps)
        return self._whole(parts, kernel)

    def _diagonal(self, gradients: np.ndarray) -> np.ndarray:
        """Return the diagonal of F⁻¹, [K, B]."""
        solved = np.linalg.solve(self._gram(gradients), gradients)  # [K, m, B]
        return (1 - np.einsum("kmb,kmb->kb", gradients, solved)) / self.dampening

    def _inverse(self, gradients: np.ndarray) -> np.ndarray:
        solved = np.linalg.solve(self._gram(gradients), gradients)
        return (np.eye(self.block) - gradients.transpose(0, 2, 1) @ solved) / self.dampening

    def _gram(self, gradients: np.ndarray) -> np.ndarray:
        """Return m d I + G Gᵀ, [K, m, m]."""
        count = gradients.shape[1]
        return gradients @ gradients.transpose(0, 2, 1) + count * self.dampening * np.eye(count)

    def _chunks(self, kernel: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield weights [K, B] and gradients [K, m, B] of some blocks after another."""
        wide = max(self.block, len(self.gradients))
        step = max(1, _NUMBERS_AT_A_TIME // (self.block * wide)) * self.block
        flat = kernel.T.reshape(-1)
        rows = self.gradients.transpose(0, 2, 1).reshape(len(self.gradients), -1)
        for start in range(0, flat.size, step):
            stop = min(start + step, flat.size)
            fill = -(stop - start) % self.block
            weights = np.pad(flat[start:stop].astype(float), (0, fill))
            gradients = np.pad(rows[:, start:stop].astype(float), ((0, 0), (0, fill)))
            shape = (len(gradients), -1, self.block)
            yield weights.reshape(shape[1:]), gradients.reshape(shape).transpose(1, 0, 2)

    def _whole(self, parts: list[np.ndarray], kernel: np.ndarray) -> np.ndarray:
        flat = np.concatenate([part.ravel() for part in parts])[: kernel.size]
        return flat.reshape(kernel.shape[::-1]).T
