"""What a device is: processor, cores, governor, Android or not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tf_prune_ofa.bench.machine import INT8_FEATURES, cpu_name
from tf_prune_ofa.device.target import Target
from tf_prune_ofa.errors import UserError

# One command, for any shell: lines of "KEY VALUE", then /proc/cpuinfo.
_QUESTION = """
echo machine $(uname -m); echo system $(uname -sr)
for p in ro.product.manufacturer ro.product.model ro.soc.manufacturer ro.soc.model \
    ro.hardware ro.build.version.release; do
  v=$(getprop $p 2>/dev/null) && [ -n "$v" ] && echo $p $v; done
m=$(tr -d '\\000' < /proc/device-tree/model 2>/dev/null) && [ -n "$m" ] && echo board $m
echo load $(cat /proc/loadavg 2>/dev/null)
echo battery $(dumpsys battery 2>/dev/null | grep temperature)
echo free_kb $(df -k {base} 2>/dev/null | tail -n 1)
for c in {sys}/devices/system/cpu/cpu[0-9]*; do [ -d $c ] || continue
  echo core ${c##*cpu} max=$(cat $c/cpufreq/cpuinfo_max_freq 2>/dev/null) \
capacity=$(cat $c/cpu_capacity 2>/dev/null) \
governor=$(cat $c/cpufreq/scaling_governor 2>/dev/null) \
online=$(cat $c/online 2>/dev/null); done
echo cpuinfo; cat /proc/cpuinfo
"""
# "CPU part" of ARM's own cores (the Linux kernel's arch/arm64/include/asm/cputype.h).
_ARM_CORES = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72", "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76",
    "0xd0d": "Cortex-A77", "0xd41": "Cortex-A78", "0xd44": "Cortex-X1", "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710", "0xd48": "Cortex-X2", "0xd4d": "Cortex-A715", "0xd4e": "Cortex-X3",
    "0xd80": "Cortex-A520", "0xd81": "Cortex-A720", "0xd82": "Cortex-X4", "0xd85": "Cortex-X925",
    "0xd87": "Cortex-A725", "0xd0c": "Neoverse-N1", "0xd40": "Neoverse-V1", "0xd49": "Neoverse-N2",
}  # fmt: skip
_PROGRAMS_FOR = ("aarch64", "x86_64")


@dataclass(frozen=True)
class Core:
    """A processor core.

    Attributes:
        number: as Linux counts.
        kind: its name where the processor tells it, such as Cortex-A76.
        max_khz: its highest clock; 0 where it cannot be read.
        capacity: its speed, 1024 for the fastest kind; 0 where it cannot be read.
        governor: what chooses its clock.
    """

    number: int
    kind: str
    max_khz: int
    capacity: int
    governor: str


@dataclass(frozen=True)
class Machine:
    """What a device said of itself.

    Attributes:
        architecture: "aarch64" or "x86_64".
        is_android: whether programs for it are made by Android's NDK.
        name: of the phone or the board, "" if it has none.
        processor: its name, or its kinds of cores.
        features: instructions that decide how fast INT8 products are.
        system: kernel and, of a phone, Android's version.
        cores: those that are on.
        load: average load of the last minute; None where it cannot be read.
        battery_celsius: of a phone; None elsewhere.
        free_bytes: space in the folder for our files; None where it cannot be read.
    """

    architecture: str
    is_android: bool
    name: str
    processor: str
    features: tuple[str, ...]
    system: str
    cores: tuple[Core, ...]
    load: float | None
    battery_celsius: float | None
    free_bytes: int | None

    @property
    def governors(self) -> str:
        """The governors of its cores, each once."""
        return ", ".join(dict.fromkeys(core.governor for core in self.cores if core.governor))

    def facts(self) -> dict[str, Any]:
        """As `bench.machine.machine_facts` says it."""
        return {
            "device": self.name,
            "cpu": self.processor,
            "cpu_features": list(self.features),
            "usable_cores": len(self.cores) or None,
            "governor": self.governors or None,
            "load_average": None if self.load is None else [self.load],
            "system": self.system,
            "architecture": self.architecture,
            "cores": [vars(core) for core in self.cores],
            "battery_celsius": self.battery_celsius,
        }


def ask(target: Target, sys: str = "/sys") -> Machine:
    """Ask a device what it is.

    Args:
        target: the device.
        sys: where sysfs is mounted there.

    Raises:
        UserError: it cannot be reached, or no program can be made for it.
    """
    question = _QUESTION.replace("{base}", target.base).replace("{sys}", sys)
    return parse(target.sh(question).out, target.name)


def parse(answer: str, name: str) -> Machine:
    """Read what `ask` asked for; `name` is what an error calls the device."""
    told, _, cpu_info = answer.partition("cpuinfo\n")
    values: dict[str, str] = {}
    lines = [line.partition(" ") for line in told.splitlines()]
    for key, _, value in lines:
        values.setdefault(key, value.strip())
    architecture = {"arm64": "aarch64", "amd64": "x86_64"}.get(
        values.get("machine", ""), values.get("machine", "")
    )
    if architecture not in _PROGRAMS_FOR:
        raise UserError(
            f"{name} is a {architecture or 'machine of an unknown kind'}. The runtime and the "
            "delegate are for 64-bit ARM and x86-64 only: a 32-bit system needs another image "
            "(Raspberry Pi OS, 64-bit)."
        )
    kinds = _core_kinds(cpu_info)
    cores = [_core(value, kinds) for key, _, value in lines if key == "core"]
    release = values.get("ro.build.version.release", "")
    maker, model = values.get("ro.product.manufacturer", ""), values.get("ro.product.model", "")
    free = re.findall(r"\d+", values.get("free_kb", ""))
    battery = re.search(r"-?\d+", values.get("battery", ""))
    load = re.match(r"[\d.]+", values.get("load", ""))
    return Machine(
        architecture=architecture,
        is_android=bool(release),
        name=f"{maker} {model}".strip() or values.get("board", ""),
        processor=_processor(values, cpu_info, kinds),
        features=_features(cpu_info),
        system=values.get("system", "") + (f", Android {release}" if release else ""),
        cores=tuple(sorted((core for core in cores if core), key=lambda core: core.number)),
        load=float(load.group()) if load else None,
        battery_celsius=int(battery.group()) / 10 if battery else None,
        # FILESYSTEM BLOCKS USED AVAILABLE USE% PLACE; the name may have digits.
        free_bytes=_available(values.get("free_kb", "")) if free else None,
    )


def _available(line: str) -> int | None:
    found = re.search(r"\s(\d+)\s+(\d+)\s+(\d+)\s+\d+%", line)
    return 1024 * int(found.group(3)) if found else None


def _core(text: str, kinds: dict[int, str]) -> Core | None:
    number, _, rest = text.partition(" ")
    values = dict(part.partition("=")[::2] for part in rest.split())
    if values.get("online") == "0" or not number.isdigit():
        return None

    def whole(key: str) -> int:
        return int(values[key]) if values.get(key, "").isdigit() else 0

    return Core(
        int(number),
        kinds.get(int(number), ""),
        whole("max"),
        whole("capacity"),
        values.get("governor", ""),
    )


def _core_kinds(cpu_info: str) -> dict[int, str]:
    kinds, number = {}, -1
    for line in cpu_info.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdigit():
            number = int(value)
        elif key == "CPU part":
            kinds[number] = _ARM_CORES.get(value.lower(), f"core {value}")
    return kinds


def _processor(values: dict[str, str], cpu_info: str, kinds: dict[int, str]) -> str:
    counts = [f"{list(kinds.values()).count(k)} x {k}" for k in dict.fromkeys(kinds.values())]
    chip = f"{values.get('ro.soc.manufacturer', '')} {values.get('ro.soc.model', '')}".strip()
    named = cpu_name(cpu_info, ("model name", "Hardware"))
    name = chip or named or values.get("ro.hardware", "")
    if counts:
        return f"{name} ({', '.join(counts)})" if name else ", ".join(counts)
    return name or "unknown processor"


def _features(cpu_info: str) -> tuple[str, ...]:
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpu_info, re.MULTILINE)
    present = set(found.group(1).split()) if found else set()
    return tuple(feature for feature in INT8_FEATURES if feature in present)
