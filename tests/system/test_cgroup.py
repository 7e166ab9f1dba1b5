"""CPU quota and kills for lack of memory, read from trees as kernels lay them out."""

import os
from pathlib import Path

import pytest

from prefork.system import cgroup
from prefork.system.cgroup import OomKills, oom_kills, usable_cpus

AFFINITY = len(os.sched_getaffinity(0))
V1 = "11:memory:/box\n4:cpu,cpuacct:/box\n1:name=systemd:/\n"
V2 = "0::/box\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("max 100000", AFFINITY),
        ("100000 100000", 1),
        ("50000 100000", 1),  # half a CPU still needs a worker
        ("110000 100000", min(2, AFFINITY)),  # what is paid for beyond one is used
        ("200000 100000", min(2, AFFINITY)),
        ("99900000 100000", AFFINITY),
        ("", AFFINITY),
    ],
)
def test_v2_quota_rounds_up_and_affinity_caps_it(tmp_path: Path, quota: str, cpus: int) -> None:
    write(tmp_path / "box/cpu.max", f"{quota}\n")
    assert usable_cpus(tmp_path, V2) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("-1", AFFINITY), ("100000", 1), ("150000", min(2, AFFINITY))])
def test_v1_quota_is_read_from_its_two_files(tmp_path: Path, quota: str, cpus: int) -> None:
    write(tmp_path / "cpu,cpuacct/box/cpu.cfs_quota_us", f"{quota}\n")
    write(tmp_path / "cpu,cpuacct/box/cpu.cfs_period_us", "100000\n")
    assert usable_cpus(tmp_path, V1) == cpus


def test_v1_controllers_are_also_found_under_a_folder_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "cpu/box/cpu.cfs_quota_us", "100000\n")
    write(tmp_path / "cpu/box/cpu.cfs_period_us", "100000\n")
    assert usable_cpus(tmp_path, V1) == 1


@pytest.mark.parametrize("level", [".", "outer", "outer/box"])
def test_a_limit_on_any_level_counts(tmp_path: Path, level: str) -> None:
    write(tmp_path / "outer/box/cpu.max", "max 100000\n")
    write(tmp_path / level / "cpu.max", "100000 100000\n")
    assert usable_cpus(tmp_path, "0::/outer/box\n") == 1


def test_the_smallest_of_several_limits_counts(tmp_path: Path) -> None:
    write(tmp_path / "outer/cpu.max", "100000 100000\n")
    write(tmp_path / "outer/box/cpu.max", "9900000 100000\n")
    assert usable_cpus(tmp_path, "0::/outer/box\n") == 1


def test_a_container_that_sees_only_its_own_group_finds_the_limit_at_the_root(tmp_path: Path) -> None:
    write(tmp_path / "cpu.max", "100000 100000\n")
    assert usable_cpus(tmp_path, "0::/not/mounted/here\n") == 1


@pytest.mark.parametrize("membership", ["", V1, V2])
def test_without_a_readable_tree_affinity_decides(tmp_path: Path, membership: str) -> None:
    assert usable_cpus(tmp_path / "missing", membership) == AFFINITY
    assert oom_kills(tmp_path / "missing", membership) == 0


def test_v2_counts_kills_for_lack_of_memory(tmp_path: Path) -> None:
    write(tmp_path / "box/memory.events", "low 0\nhigh 7\nmax 5\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills(tmp_path, V2) == 2


def test_v1_counts_kills_for_lack_of_memory(tmp_path: Path) -> None:
    write(tmp_path / "memory/box/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    assert oom_kills(tmp_path, V1) == 4


def test_the_innermost_group_that_counts_kills_is_asked(tmp_path: Path) -> None:
    write(tmp_path / "outer/memory.events", "oom_kill 9\n")
    write(tmp_path / "outer/box/memory.events", "oom_kill 1\n")
    assert oom_kills(tmp_path, "0::/outer/box\n") == 1


def test_this_machine_can_be_read() -> None:
    assert 1 <= usable_cpus() <= AFFINITY
    assert oom_kills() >= 0


def test_kills_are_news_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([5, 5, 6, 6, 9, 9])
    monkeypatch.setattr(cgroup, "oom_kills", lambda: next(counts))
    kills = OomKills()  # there were five before us
    assert [kills.more() for _ in range(5)] == [False, True, False, True, False]


def test_a_count_that_begins_anew_is_no_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process was moved to another group."""
    counts = iter([5, 0, 1])
    monkeypatch.setattr(cgroup, "oom_kills", lambda: next(counts))
    kills = OomKills()
    assert [kills.more(), kills.more()] == [False, True]
