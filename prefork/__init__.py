"""prefork: a pre-fork HTTP server and framework for Python on Linux."""

__version__ = "0.1.0"
