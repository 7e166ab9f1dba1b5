"""What apps in these tests offload."""

import os


def double(number: int) -> int:
    return 2 * number


def pid() -> int:
    return os.getpid()
