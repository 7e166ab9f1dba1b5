"""A process tree is found whole, and its CPU time and memory are the kernel's own figures."""

import os
import time

from benchmarks.tree import PARENT, cpu_clock, members, process_tree, pss_bytes, read_stat, stat_fields


def test_a_command_with_spaces_and_parentheses_does_not_shift_the_fields() -> None:
    assert stat_fields("42 (a) S 1 (b)) S 7 42 42 0")[PARENT] == "7"


def test_the_tree_holds_children_of_children_and_no_strangers() -> None:
    assert members({1: 0, 10: 1, 11: 10, 12: 11, 13: 10, 20: 1, 21: 20}, 10) == [10, 11, 13, 12]


def test_this_process_is_its_parents_child() -> None:
    fields = read_stat(os.getpid())
    assert fields is not None
    assert int(fields[PARENT]) == os.getppid()
    assert os.getpid() in process_tree(os.getppid())


def test_the_cpu_clock_of_a_pid_is_that_processs_own() -> None:
    before = time.process_time_ns()
    read = time.clock_gettime_ns(cpu_clock(os.getpid()))
    assert before <= read <= time.process_time_ns()


def test_memory_of_this_process_is_some_megabytes() -> None:
    assert 1_000_000 < pss_bytes(os.getpid()) < 1_000_000_000
