"""Fixtures: one server tree, and one gate, per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.gate import Gate
from tests.processes.jobs import Jobs
from tests.processes.tree import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A tree that is not started yet, with a folder of its own; nothing of it outlives the test."""
    yield from _tree(tmp_path)


@pytest.fixture
def tree_beside(tmp_path: Path) -> Iterator[Tree]:
    """Another one in the same folder."""
    yield from _tree(tmp_path)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """The gate of the tree's folder."""
    gate = Gate(tmp_path)
    yield gate
    gate.close()


def _tree(folder: Path) -> Iterator[Tree]:
    tree = Tree(folder)
    yield tree
    tree.close()
    print(tree.report())  # pytest shows it when the test failed


@pytest.fixture
def jobs(tree: Tree) -> Iterator[Jobs]:
    """Jobs in that tree, which the test starts. When it is over, nothing of them may be left."""
    jobs = Jobs(tree)
    yield jobs
    jobs.check_nothing_left()
