"""One at a time within this process, in the order in which they came: threads and coroutines alike."""

import threading
from collections import deque
from concurrent.futures import Future


class Turns:
    """Whoever takes the turn gives it on. Nobody waits in here: a future tells when one's turn has come."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[Future[None]] = deque()

    def take_now(self) -> bool:
        """Take the turn, if nobody has it."""
        with self._guard:
            if self._taken:
                return False
            self._taken = True
            return True

    def queue(self) -> "Future[None]":
        """Done when the turn is ours. Who will not wait any longer cancels it; if it cannot be cancelled, the turn has
        come."""
        future: Future[None] = Future()
        with self._guard:
            if self._taken:
                self._waiting.append(future)
                return future
            self._taken = True
        grant(future)
        return future

    def give(self) -> None:
        """Give the turn to who has waited longest."""
        with self._guard:
            while self._waiting:
                future = self._waiting.popleft()
                if grant(future):
                    return
            self._taken = False


def grant(future: "Future[None]") -> bool:
    """Tell one who waits that it has what it waits for. False when it has gone away."""
    if not future.set_running_or_notify_cancel():
        return False
    future.set_result(None)
    return True
