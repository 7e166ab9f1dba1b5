"""This process's claim to a byte that other processes want too: one of us waits for it, in a thread if need be."""

import threading
from concurrent.futures import Future

from prefork.children.memory.turns import Turns, grant
from prefork.system.record_locks import RecordLocks


class LockClaim:
    """One for each byte of a file in each process. `turns` first: whoever has the turn may ask for the byte."""

    def __init__(self, locks: RecordLocks, byte: int) -> None:
        self.turns = Turns()
        self.held = False  # by the one who has the turn
        self.abandoned = False  # the one who held it before died with it
        self._locks = locks
        self._byte = byte
        self._guard = threading.Lock()
        self._waits = False  # a thread waits for the byte, on behalf of `_wanted`
        self._wanted: Future[None] = Future()

    def lock_now(self) -> bool:
        """Lock the byte, if it is free. Raises OSError, ValueError once its buffer is closed."""
        with self._guard:
            # A thread that still waits for one who has gone away would unlock what it shares with us.
            return not self._waits and self._locks.try_lock(self._byte)

    def lock(self) -> None:
        """Lock the byte; this thread waits for it. Raises as `lock_now`."""
        if self._waits:
            self.lock_later().result()
        else:
            self._locks.lock(self._byte)

    def lock_later(self) -> "Future[None]":
        """Done when the byte is locked; a thread waits for it (there is no other way to hear of it). Who will not wait
        any longer cancels it; if it cannot be cancelled, the byte is ours."""
        future: Future[None] = Future()
        with self._guard:
            self._wanted = future
            if not self._waits:
                thread = threading.Thread(target=self._wait, name="prefork-lock", daemon=True)
                thread.start()  # raises RuntimeError when there can be no more
                self._waits = True
        return future

    def unlock(self) -> None:
        """Let go of the byte."""
        self._locks.unlock(self._byte)

    def _wait(self) -> None:
        failure: Exception | None = None
        try:
            self._locks.lock(self._byte)
        except (OSError, ValueError) as error:
            failure = error
        with self._guard:
            self._waits = False
            if failure is not None:
                if self._wanted.set_running_or_notify_cancel():
                    self._wanted.set_exception(failure)
            elif not grant(self._wanted):
                self._locks.unlock(self._byte)
