"""The table on threads and processes compares with the same work done one after another."""

from benchmarks.threads_and_processes import KINDS, ONE_BY_ONE, WAYS, Sample, table


def test_each_way_is_compared_with_one_after_another_by_medians() -> None:
    faster = {ONE_BY_ONE: 1.0} | {way: float(way.width) for way in WAYS if way is not ONE_BY_ONE}
    samples = [
        Sample(kind, way, taken=pace * 0.4 / faster[way], late=pace * 0.002)
        for pace in (1.0, 1.0, 50.0)  # a machine that has a bad moment
        for kind in KINDS
        for way in WAYS
    ]
    lines = table(samples).splitlines()
    assert lines[2] == "| one after another | 400 (1.0) | 400 (1.0) | 400 (1.0) | 2.0 |"
    assert lines[3] == "| 1 thread | 400 (1.0) | 400 (1.0) | 400 (1.0) | 2.0 |"
    assert lines[5] == "| 4 threads | 100 (4.0) | 100 (4.0) | 100 (4.0) | 2.0 |"
    assert lines[6].startswith("| 1 process |")
    assert lines[8] == "| 4 processes | 100 (4.0) | 100 (4.0) | 100 (4.0) | 2.0 |"
    assert {line.count("|") for line in lines} == {6}
