import pytest

from tf_prune_ofa.bench import machine
from tf_prune_ofa.device import machine as device_machine

X86 = "processor\t: 0\nmodel name\t: A processor\nflags\t\t: fpu avx2 avx512_vnni sse2\n"
EPYC = "cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nHardware\t: A board\n"


@pytest.mark.parametrize(
    ("cpu_info", "name", "features"),
    [
        (X86, "A processor", ["avx2", "avx512_vnni"]),
        (EPYC, "AMD EPYC (family 25 model 1)", ["avx2"]),
        (ARM, "A board", ["asimddp", "i8mm"]),
    ],
)
def test_reads_what_linux_says_about_the_processor(monkeypatch, cpu_info, name, features):
    monkeypatch.setattr(machine, "_read", {"/proc/cpuinfo": cpu_info}.get)
    facts = machine.machine_facts()
    assert (facts["cpu"], facts["cpu_features"], facts["governor"]) == (name, features, None)


def test_describes_this_machine():
    facts = machine.machine_facts()
    assert facts["cpu"] and facts["usable_cores"] >= 1 and len(facts["load_average"]) == 3


@pytest.mark.parametrize(
    ("load", "threads", "is_busy"),
    [(0.1, 1, False), (1.4, 1, False), (1.6, 1, True), (0.6, 2, True)],
)
def test_warns_when_other_work_takes_the_cores(load, threads, is_busy):
    facts = {"load_average": [load, 0.0, 0.0], "usable_cores": 2}
    assert (machine.busy_warning(facts, threads) is not None) == is_busy


def test_says_nothing_where_the_load_is_not_known():
    assert machine.busy_warning({"load_average": None, "usable_cores": 2}, 1) is None


def test_a_device_names_the_same_processor():
    assert device_machine._processor({}, EPYC, {}) == "AMD EPYC (family 25 model 1)"
