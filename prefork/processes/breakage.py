"""Why the app's code as it is now cannot start, and who is told: the log, and in development the workers' pages."""

from prefork.messages import BootFailed, ReloadFailed, ReloadMended
from prefork.processes.link import WorkerLink
from prefork.processes.reports import report_boot_failure
from prefork.system.channel import Channel


class Breakage:
    """What was told of generations that could not boot."""

    def __init__(self, links: dict[int, WorkerLink], on_pages: bool) -> None:
        """`links` by serial, kept by the caller. With `on_pages`, workers are told what to show."""
        self._links = links
        self._on_pages = on_pages
        self._told: tuple[int, str] = (0, "")  # the last generation that said why, and what it said
        self._broken = 0  # the generation whose failure is shown
        self._shown = ""
        self._stand_ins: set[int] = set()

    def explain(self, who: str, generation: int, message: BootFailed) -> None:
        """A process of a generation tells why it cannot boot."""
        self._told = (generation, message.traceback)
        report_boot_failure(who, message)

    def reason(self, generation: int, otherwise: str) -> str:
        """What a generation said, or else what is known of it."""
        return self._told[1] if self._told[0] == generation else otherwise

    def show(self, generation: int, reason: str) -> None:
        """A generation failed: the pages of those that serve show why, until a later one is ready."""
        self._broken, self._shown = generation, reason
        self._tell_all(ReloadFailed(reason))

    def stand_in(self, generation: int) -> None:
        """A generation serves nothing but the failure that is shown."""
        self._stand_ins.add(generation)

    def is_stand_in(self, generation: int) -> bool:
        return generation in self._stand_ins

    def ready(self, generation: int, channel: Channel) -> None:
        """A worker is ready: its generation is past the failure, or is to show it too."""
        if not self._shown:
            return
        if generation <= self._broken:
            if self._on_pages:
                channel.tell(ReloadFailed(self._shown))
        elif generation not in self._stand_ins:  # they were made with what to show
            self._shown = ""
            self._tell_all(ReloadMended())

    def _tell_all(self, message: ReloadFailed | ReloadMended) -> None:
        if self._on_pages:
            for link in self._links.values():
                link.channel.tell(message)
