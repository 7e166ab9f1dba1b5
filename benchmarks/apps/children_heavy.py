"""A part of an app of a realistic size: numpy, pandas and FastAPI, 90 MB. Importing it is most of a spawned start."""

import os
from multiprocessing.connection import Connection
from typing import Any

import numpy
import pandas
from fastapi import FastAPI

TABLE = pandas.DataFrame({"number": numpy.arange(1000)})  # the import is used, as an app would
asgi = FastAPI()


def greet_pipe(connection: "Connection[Any, Any]") -> None:
    """A process of multiprocessing's that sends one message and ends. It can be found only by importing this."""
    connection.send(os.getpid())
