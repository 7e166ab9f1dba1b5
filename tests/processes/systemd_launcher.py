"""Become the command in the arguments, with the given sockets passed the way systemd does (sd_listen_fds(3))."""

import os
import sys

FIRST = 3


def main() -> None:
    numbers = [int(number) for number in sys.argv[1].split(",")]
    assert min(numbers) >= FIRST + len(numbers), "they would overwrite each other"
    for target, number in enumerate(numbers, FIRST):
        os.dup2(number, target)
    os.environ |= {"LISTEN_FDS": str(len(numbers)), "LISTEN_PID": str(os.getpid())}
    os.execv(sys.argv[2], sys.argv[2:])


main()
