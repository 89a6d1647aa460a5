"""Facts about this machine that a latency means nothing without."""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Instructions that decide how fast INT8 matrix products are, by the names Linux gives them.
INT8_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "asimddp",
    "i8mm",
    "sve",
)


def machine_facts() -> dict[str, Any]:
    """Describes the processor, its settings and how busy the machine is now.

    Returns:
        `cpu`, `cpu_features` (those that matter for INT8), `usable_cores` of this process,
        `governor` (None where the kernel does not say, as in most virtual machines),
        `load_average` over 1, 5 and 15 minutes (None on Windows), `system` and `architecture`.
    """
    cpu_info = _read("/proc/cpuinfo") or ""
    return {
        "cpu": cpu_name(cpu_info) or platform.processor() or platform.machine(),
        "cpu_features": _features(cpu_info),
        "usable_cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_average": [round(load, 2) for load in os.getloadavg()]
        if hasattr(os, "getloadavg")
        else None,
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }


def busy_warning(facts: dict[str, Any], threads: int) -> str | None:
    """A sentence if other work was probably running during the measurement, else None."""
    if facts["load_average"] is None or facts["usable_cores"] is None:
        return None
    free_cores = facts["usable_cores"] - facts["load_average"][0]
    # The load average lags behind, so a little less than `threads` is not yet a sign of trouble.
    if free_cores >= threads - 0.5:
        return None
    return (
        f"The machine was busy: load average {facts['load_average'][0]:.2f} on "
        f"{facts['usable_cores']} cores at the start. Times are too high; ratios suffer less."
    )


def cpu_name(cpu_info: str, keys: Sequence[str] = ("model name", "Hardware", "Model")) -> str:
    """Returns the processor's name; on x86 with family and model; "" if there is none.

    A virtual machine may say "AMD EPYC" alone, be it a Zen 3 or a Zen 5.

    Args:
        cpu_info: text of /proc/cpuinfo.
        keys: that name it, the best first. x86 has the first; ARM boards have others or nothing.
    """
    name = next(filter(None, (_cpu_field(cpu_info, key) for key in keys)), "")
    family, model = (_cpu_field(cpu_info, key) for key in ("cpu family", "model"))
    return f"{name} (family {family} model {model})" if name and family and model else name


def _cpu_field(cpu_info: str, key: str) -> str | None:
    found = re.search(rf"^{key}\s*:\s*(.+)$", cpu_info, re.MULTILINE)
    return found.group(1).strip() if found else None


def _features(cpu_info: str) -> list[str]:
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpu_info, re.MULTILINE)
    present = set(found.group(1).split()) if found else set()
    return [feature for feature in INT8_FEATURES if feature in present]


def _read(path: str) -> str | None:
    file = Path(path)
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None
