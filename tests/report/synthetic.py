"""A made-up recipe run in the files that real stages write."""

import json
from pathlib import Path

import numpy as np

KERNELS = (
    "attention/query",
    "attention/key",
    "attention/value",
    "attention/output",
    "ffn/intermediate",
    "ffn/output",
)
ABOUT = {"title": "Prune OFA, MiniLM-L6, 85 %", "source": "a paper", "expected": "0.85"}
VERSIONS = {"tensorflow": "2.21.0", "tf_keras": "2.21.0", "ai-edge-litert": "2.3.0"}


def write_run(folder: Path, *, encoder_layers: int = 2, steps: int = 40) -> Path:
    """Writes all stages of a Prune OFA run below `folder` and gives `folder`."""
    dense = {"zeros_in_kernels": 0.0}
    add_training(folder, 1, "teacher_mlm", "teacher", {"mlm_accuracy": 0.41}, steps, ("mlm",))
    add_training(
        folder, 2, "teacher_task", "teacher", {"accuracy": 0.868, **dense}, steps, ("task",)
    )
    layers = {
        f"encoder_{layer:02d}/{kernel}": 0.85 + 0.001 * layer
        for layer in range(encoder_layers)
        for kernel in KERNELS
    }
    pruned = {"sparsity": 0.85, "layers": layers}
    terms = ("task", "kd")
    add_training(folder, 3, "prune", "prune", pruned, steps, ("mlm", "kd_mlm"), final=0.85)
    add_training(folder, 4, "transfer", "transfer", {"accuracy": 0.859, **pruned}, steps, terms)
    add_training(folder, 5, "quantize", "quantize", {"accuracy": 0.857, **pruned}, steps, terms)
    add_export(folder)
    add_verify(folder, layers)
    add_bench(folder)
    return folder


def stage_folder(run: Path, number: int, name: str, digest: str = "0f3a9c21") -> Path:
    """The folder of a stage, as the runner names it."""
    folder = run / f"{number:02d}_{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_result(folder: Path, name: str, kind: str, figures: dict) -> None:
    """result.json of a stage."""
    result = {
        "stage": name,
        "kind": kind,
        "recipe": "quickstart",
        "config": {
            "stage": {"kind": kind, "length": "3 epochs", "learning_rate": 5e-5},
            "model": {"weights": "minilm_l6"},
        },
        "digest": "0f3a9c21" * 8,
        "versions": VERSIONS,
        "git_commit": "1a2b3c4",
        "seed": 1,
        "seconds": 154.0,
        "figures": figures,
    }
    _write(folder / "result.json", result)


def add_training(
    run: Path,
    number: int,
    name: str,
    kind: str,
    figures: dict,
    steps: int,
    terms: tuple[str, ...],
    final: float | None = None,
) -> None:
    """A training stage with falling losses; `final` adds a cubic ramp of sparsity."""
    folder = stage_folder(run, number, name)
    write_result(folder, name, kind, figures)
    noise = np.random.default_rng(number)
    lines = []
    for step in range(1, steps + 1):
        done = step / steps
        line = {"step": step, "learning_rate": 5e-5 * (1 - done), "examples_per_s": 37.0}
        for i, term in enumerate(terms):
            line[f"loss_{term}"] = (2 + i) * np.exp(-2 * done) + 0.1 * noise.random()
        line["loss"] = sum(line[f"loss_{term}"] for term in terms) / len(terms)
        if final is not None:
            line["sparsity_asked"] = final * (1 - (1 - min(1.0, 2 * done)) ** 3)
            line["sparsity_measured"] = final * (
                1 - (1 - min(1.0, 2 * (step // 4 * 4) / steps)) ** 3
            )
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


FILES = {  # variant: size, gzip, accuracy, median ms, ratio
    "float32": (90_900_000, 22_100_000, 0.859, 15.2, 2.92),
    "dynamic_int8": (23_100_000, 10_200_000, 0.858, 5.1, 0.98),
    "dense_int8": (23_200_000, 10_100_000, 0.857, 5.2, 1.0),
    "sparse_int8": (15_700_000, 11_000_000, 0.857, 5.25, 1.01),
}


def file_name(variant: str) -> str:
    """Name of an exported file."""
    return f"{variant}_s64.tflite"


def add_export(run: Path) -> None:
    """An export stage with four variants."""
    folder = stage_folder(run, 6, "export")
    write_result(folder, "export", "export", {})
    files = [
        {
            "variant": variant,
            "file": file_name(variant),
            "size_bytes": size,
            "gzip_bytes": gzipped,
            "sha256": "ab" * 32,
            "layers": {"encoder_00/ffn/output": size // 100},
            "pruned_bytes": 3_500_000 if variant == "sparse_int8" else 10_600_000,
        }
        for variant, (size, gzipped, *_) in FILES.items()
    ]
    manifest = {"sequence_length": 64, "outputs": ["logits"], "files": files}
    _write(folder / "manifest.json", manifest)


def add_verify(run: Path, layers: dict[str, float]) -> None:
    """A verify stage."""
    folder = stage_folder(run, 7, "verify")
    write_result(folder, "verify", "verify", {})
    verify = {
        "verdict": "pass",
        "problems": [],
        "files": [
            {
                "file": file_name(variant),
                "variant": variant,
                "examples": 2400,
                "accuracy": figures[2],
                "keras_accuracy": figures[2],
                "label_agreement": 0.9987,
                "max_logit_difference": 0.123,
                "mean_logit_difference": 0.0123,
                "max_logit_difference_steps": 3.0,
                "zeros_in_pruned_layers": 0.85,
                "equals_dense_int8": True,
                "limits": {"of_spread": 0.25, "of_size": 0.02, "agreement": 0.9},
                "relative_difference": 0.0123,
                "allowed_difference": 0.271,
                "agreement": {"label_agreement": 0.9987},
                "problems": [],
                "verdict": "pass",
            }
            for variant, figures in FILES.items()
        ],
        "layers": [{"layer": name, "mean_steps": 0.3, "max_steps": 4.0} for name in layers],
    }
    _write(folder / "verify.json", verify)


def bench_result() -> dict:
    """What `bench.host.benchmark` gives for the four variants."""
    return {
        "schema": "tf_prune_ofa.bench/1",
        "created": "2026-01-01T12:00:00+00:00",
        "reference": file_name("dense_int8"),
        "runtime": {"name": "ai-edge-litert", "version": "2.3.0", "threads": 1, "xnnpack": True},
        "machine": {
            "cpu": "A processor",
            "cpu_features": ["avx2", "avx512_vnni"],
            "usable_cores": 2,
            "governor": None,
            "load_average": [0.25, 0.2, 0.1],
            "system": "Linux 6.1",
            "architecture": "x86_64",
            "python": "3.11.7",
        },
        "settings": {"warmup": 5, "burst": 2, "runs": 200, "seed": 0, "loads": 3, "seconds": 60},
        "warnings": [],
        "files": [_bench_file(variant) for variant in FILES],
    }


def _bench_file(variant: str) -> dict:
    size, _, _, median, ratio = FILES[variant]
    return {
        "file": file_name(variant),
        "path": f"/somewhere/{file_name(variant)}",
        "size_bytes": size,
        "sha256": "ab" * 32,
        "inputs": [{"name": "input_word_ids", "shape": [1, 64], "dtype": "int32"}],
        "delegation": {"operators": 290, "delegated": 284, "partitions": 2},
        "load_ms": 21.0,
        "first_run_ms": 9.0,
        "peak_memory_bytes": 41_000_000,
        "latency_ms": {
            "median": median,
            "p10": 0.97 * median,
            "p90": 1.08 * median,
            "p99": 1.3 * median,
            "min": 0.96 * median,
            "mean": 1.01 * median,
            "runs": 200,
        },
        "first_of_turn_ms": 1.1 * median,
        "ratio": {
            "ratio": ratio,
            "low": ratio if variant == "dense_int8" else 0.99 * ratio,
            "high": ratio if variant == "dense_int8" else 1.01 * ratio,
        },
    }


def add_bench(run: Path) -> None:
    """A benchmark stage."""
    folder = stage_folder(run, 8, "benchmark")
    write_result(folder, "benchmark", "benchmark", {})
    _write(folder / "bench.json", bench_result())


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
