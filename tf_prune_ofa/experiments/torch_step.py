"""One training step in PyTorch, to compare ours with: `-m tf_prune_ofa.experiments.torch_step`.

Runs in a Python that has PyTorch and NumPy. The step is that of `step_speed`: forward pass
of student and teacher, distillation loss, gradients masked and clipped, AdamW, weights masked. It
is written as one would for speed: one product for attention (`scaled_dot_product_attention`), the
optimizer's fused form, `inference_mode` for the teacher.

Legend: B batch · S sequence · H hidden · A heads · D = H/A.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.bench.worker import peak_memory, reset_peak_memory, serve, timed


class TorchStep:
    """Holds student, teacher, optimizer and one batch."""

    def open(self, folder: str, settings: Mapping[str, Any], threads: int) -> dict[str, Any]:
        """Build everything from files.

        Args:
            folder: holds `student.npz`, `teacher.npz`, `masks.npz` and `batch.npz`; weights by the
                names of `models.bert.parameters`, kernels [in, out].
            settings: `num_layers`, `num_heads`, `epsilon`, `temperature`, `clip_norm`,
                `learning_rate`, `weight_decay`, `fused` (the optimizer's form).
            threads: of PyTorch.

        Returns:
            `version` of PyTorch.
        """
        import torch

        torch.set_num_threads(threads)
        self._before = peak_memory()
        self.settings = settings
        arrays = {
            name: {
                key: torch.from_numpy(value) for key, value in np.load(Path(folder, name)).items()
            }
            for name in ("student.npz", "teacher.npz", "masks.npz", "batch.npz")
        }
        self.student = {
            # PyTorch keeps kernels [out, in]; so do its gradients and its optimizer's moments.
            name: (value.T.contiguous() if name.endswith("/kernel") else value).requires_grad_()
            for name, value in arrays["student.npz"].items()
        }
        self.teacher = {
            name: value.T.contiguous() if name.endswith("/kernel") else value
            for name, value in arrays["teacher.npz"].items()
        }
        self.masks = [
            (self.student[f"{name}/kernel"], mask.T.contiguous().float())
            for name, mask in arrays["masks.npz"].items()
        ]
        self.batch = {key: value.long() for key, value in arrays["batch.npz"].items()}
        without_decay = ("bias", "gamma", "beta")
        groups = [
            {
                "params": [
                    v for n, v in self.student.items() if n.endswith(without_decay) is exempt
                ],
                "weight_decay": 0.0 if exempt else settings["weight_decay"],
            }
            for exempt in (False, True)
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=settings["learning_rate"], eps=1e-8, fused=settings["fused"]
        )
        reset_peak_memory()
        return {"version": torch.__version__}

    def step(self) -> dict[str, float]:
        """Take one step; answer with its `ms` by the clock, `cpu_ms` of all threads, `loss`."""
        ms, cpu_ms = timed(self._step)
        return {"ms": ms, "cpu_ms": cpu_ms, "loss": float(self._loss.detach())}

    def memory(self) -> dict[str, int]:
        """Answer with `peak_memory_bytes` of the steps, above the imported packages."""
        return {"peak_memory_bytes": peak_memory() - self._before}

    def _step(self) -> None:
        import torch
        from torch.nn import functional

        temperature = self.settings["temperature"]
        with torch.inference_mode():
            taught = self._logits(self.teacher)
        logits = self._logits(self.student)
        self._loss = temperature**2 * functional.kl_div(
            functional.log_softmax(logits / temperature, -1),
            functional.softmax(taught / temperature, -1),
            reduction="batchmean",
        )
        self.optimizer.zero_grad(set_to_none=True)
        self._loss.backward()
        with torch.no_grad():
            for kernel, mask in self.masks:
                kernel.grad.mul_(mask)
        torch.nn.utils.clip_grad_norm_(list(self.student.values()), self.settings["clip_norm"])
        self.optimizer.step()
        with torch.no_grad():
            for kernel, mask in self.masks:
                kernel.mul_(mask)

    def _logits(self, weights: Mapping[str, Any]) -> Any:
        """Logits [B, labels] of the batch."""
        import torch
        from torch.nn import functional

        def dense(x: Any, name: str) -> Any:
            return functional.linear(x, weights[f"{name}/kernel"], weights[f"{name}/bias"])

        def norm(x: Any, name: str) -> Any:
            gamma, beta = weights[f"{name}/gamma"], weights[f"{name}/beta"]
            return functional.layer_norm(x, gamma.shape, gamma, beta, self.settings["epsilon"])

        def heads(x: Any) -> Any:  # [B, S, H] -> [B, A, S, D]
            return x.unflatten(-1, (self.settings["num_heads"], -1)).transpose(1, 2)

        ids = self.batch["input_word_ids"]
        x = functional.embedding(ids, weights["embeddings/word/embeddings"])
        x = x + weights["embeddings/position/embeddings"][: ids.shape[1]]
        types = weights["embeddings/type/embeddings"]
        x = norm(x + functional.embedding(self.batch["input_type_ids"], types), "embeddings/norm")
        mask = self.batch["input_mask"].bool()[:, None, None]
        for index in range(self.settings["num_layers"]):
            name = f"encoder_{index:02d}"
            query, key, value = (
                heads(dense(x, f"{name}/attention/{part}")) for part in ("query", "key", "value")
            )
            context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            context = context.transpose(1, 2).flatten(2)
            x = norm(x + dense(context, f"{name}/attention/output"), f"{name}/attention/norm")
            ffn = functional.gelu(dense(x, f"{name}/ffn/intermediate"))
            x = norm(x + dense(ffn, f"{name}/ffn/output"), f"{name}/ffn/norm")
        return dense(torch.tanh(dense(x[:, 0], "pooler")), "classifier")


if __name__ == "__main__":
    serve(TorchStep())
