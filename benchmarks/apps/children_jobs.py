"""What runs in the children that are measured, importable by name in every process, and quick to import."""

import os
from multiprocessing.connection import Connection
from typing import Any

from prefork.children import parent


def greet() -> None:
    """A fork that sends one message and ends."""
    parent.send(os.getpid())


def echo() -> None:
    """A fork that sends back what it gets."""
    for message in parent:
        parent.send(message)


def sums() -> None:
    """A fork that sends back the sum of each array it gets."""
    for array in parent:
        parent.send(float(array.sum()))


class Model:
    """An actor with a method of each kind that is measured."""

    def same(self, value: Any) -> Any:
        """Nothing: what is left is the way there and back."""
        return value

    def total(self, array: Any) -> float:
        """A sum of an array."""
        return float(array.sum())


def same(value: Any) -> Any:
    """Nothing, as a job."""
    return value


def serve_pipe(connection: "Connection[Any, Any]") -> None:
    """A process of multiprocessing's that calls a method of Model for each message, until the other end is closed."""
    model = Model()
    while True:
        try:
            name, value = connection.recv()
        except EOFError:
            return
        connection.send(getattr(model, name)(value))
