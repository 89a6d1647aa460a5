import pytest

from tf_prune_ofa.device import cores, machine
from tf_prune_ofa.errors import UserError

PI = """machine aarch64
system Linux 6.6.31+rpt-rpi-2712
board Raspberry Pi 5 Model B Rev 1.0
load 0.35 0.20 0.10 1/200 999
battery
free_kb /dev/mmcblk0p2 30500000 8000000 21000000 28% /
core 0 max=2400000 capacity=1024 governor=ondemand online=1
core 1 max=2400000 capacity=1024 governor=ondemand online=
core 2 max=2400000 capacity=1024 governor=ondemand online=0
core 10 max= capacity= governor= online=
cpuinfo
processor\t: 0
Features\t: fp asimd asimdhp cpuid asimdrdm asimddp
CPU part\t: 0xd0b

processor\t: 1
CPU part\t: 0xd0b
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def test_a_raspberry_pi():
    pi = machine.parse(PI, "ssh:pi")
    assert (pi.architecture, pi.is_android) == ("aarch64", False)
    assert (pi.name, pi.processor) == ("Raspberry Pi 5 Model B Rev 1.0", "2 x Cortex-A76")
    assert pi.features == ("asimddp",)
    # Core 2 is off.
    assert [core.number for core in pi.cores] == [0, 1, 10]
    assert (pi.governors, pi.load, pi.battery_celsius) == ("ondemand", 0.35, None)
    assert pi.free_bytes == 21000000 * 1024
    facts = pi.facts()
    assert (facts["device"], facts["usable_cores"]) == (pi.name, 3)


def test_little_is_known():
    bare = machine.parse("machine x86_64\nsystem Linux 6.1\ncpuinfo\n", "local")
    assert (bare.processor, bare.cores, bare.load, bare.free_bytes) == (
        "unknown processor",
        (),
        None,
        None,
    )
    assert bare.facts()["governor"] is None


def test_a_core_that_is_not_known_keeps_its_number():
    assert "core 0xfff" in machine.parse(PI.replace("0xd0b", "0xfff"), "ssh:pi").processor


@pytest.mark.parametrize("name", ["armv7l", "riscv64", ""])
def test_no_program_can_be_made_for_it(name):
    with pytest.raises(UserError, match="for 64-bit ARM and x86-64 only"):
        machine.parse(PI.replace("machine aarch64", f"machine {name}"), "ssh:pi")


PHONE = machine.parse(
    PI.replace("core 1 max=2400000 capacity=1024", "core 1 max=2400000 capacity=400"), "phone"
)


@pytest.mark.parametrize(
    ("asked", "found"), [("all", []), ("big", [0]), ("10,1,1", [1, 10]), ("little", [10])]
)
def test_cores(asked, found):
    assert cores.choose(asked, PHONE) == found


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ("2", r"there is no core 2, or it is off; there are 0, 1, 10"),
        ("fast", "write all, big, little, or numbers"),
        ("1-3", "write all, big, little, or numbers"),
    ],
)
def test_cores_that_are_refused(asked, problem):
    with pytest.raises(UserError, match=problem):
        cores.choose(asked, PHONE)


def test_no_big_cores():
    alike = machine.parse(PI.replace("core 10", "other"), "ssh:pi")
    with pytest.raises(UserError, match="does not tell big cores from little ones"):
        cores.choose("big", alike)
