"""A canary while workers die, are replaced, scaled and reloaded in any order: it costs nobody a worker, and it ends."""

from hypothesis import given
from hypothesis import strategies as st

from prefork.core.canary import plan
from prefork.core.lifecycle import Event, State
from prefork.core.plan import Retire, Spawn
from prefork.core.roster import Canary, Roster, WorkerHandle

EVENTS = (
    *("canary", "promote", "roll back", "reload", "old mold dies"),
    *("retire", "more", "fewer", "ready", "ready", "ready", "dies", "dies young", "stall", "recover", "wait"),
)
OCCURRENCES = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.integers(0, 100), st.sampled_from([0.01, 0.3, 0.5, 0.99])), max_size=60
)


class Run:
    """A roster to which things happen as the supervisor lets them, and whose plan is carried out after each."""

    def __init__(self, wanted: int) -> None:
        self.roster = Roster(wanted)
        self.now = 0.0
        self.latest = 1  # generation
        self.act()

    def act(self) -> None:
        roster = self.roster
        for _ in range(20):
            assert plan(roster, self.now) == plan(roster, self.now)
            before = {generation: self.served(generation) for generation in roster.wanted_generations}
            # A canary that is to have fewer workers lets some go, whoever else is in their slots.
            ready = [
                h for h in roster.in_state(State.READY) if h.generation != self.trial or h.slot < self.most_on_trial()
            ]
            anybody = {handle.slot for handle in ready if handle.slot < roster.wanted}
            steps = plan(roster, self.now)
            for step in steps:
                match step:
                    case Spawn(slot, generation):
                        assert generation in roster.wanted_generations
                        roster.add(slot, generation, self.now)
                    case Retire(handle, reason):
                        assert reason
                        handle.apply(Event.RETIRED)
            assert {generation: self.served(generation) for generation in roster.wanted_generations} == before
            assert self.served() == anybody
            if not steps:
                break
        else:
            raise AssertionError("the plan has no end")
        assert len(self.of(self.trial)) <= self.most_on_trial() * 2
        for slot in range(roster.wanted):
            assert len([h for h in roster.of_slot(slot) if h.active]) <= (3 if roster.canary is None else 4)

    @property
    def trial(self) -> int | None:
        return None if self.roster.canary is None else self.roster.canary.generation

    def most_on_trial(self) -> int:
        return 0 if self.roster.canary is None else self.roster.canary.workers(self.roster.wanted)

    def of(self, generation: int | None) -> list[WorkerHandle]:
        return [handle for handle in self.roster if handle.active and handle.generation == generation]

    def served(self, generation: int | None = None) -> set[int]:
        """The slots that have a worker that is ready, of those that we want."""
        wanted = self.roster.wanted if generation is None or generation != self.trial else self.most_on_trial()
        ready = self.roster.in_state(State.READY)
        return {h.slot for h in ready if h.slot < wanted and generation in (None, h.generation)}

    def end_canary(self) -> None:
        """Its workers drain, as `processes.canary` has them do."""
        for handle in self.of(self.trial):
            handle.apply(Event.RETIRED)
        self.roster.canary = None

    def happen(self, what: str, choice: int, share: float) -> None:
        roster = self.roster
        ready, booting = roster.in_state(State.READY), roster.in_state(State.BOOTING)
        alive, stalled = list(roster), roster.in_state(State.STALLED)
        match what:
            case "canary" if roster.canary is None and roster.settled:
                self.latest += 1
                roster.canary = Canary(self.latest, share)
            case "promote" if roster.canary is not None:
                kept = [handle for handle in self.of(self.trial) if handle.state is State.READY]
                roster.generation, roster.canary = roster.canary.generation, None
                self.act()
                replaced = [handle for handle in kept if not handle.active]
                assert all(handle.retiring or handle.slot >= roster.wanted for handle in replaced)
            case "roll back" if roster.canary is not None:
                self.end_canary()
            case "reload" | "old mold dies":
                self.end_canary()
                self.latest += 1
                roster.generation = self.latest
            case "retire" if ready:
                chosen = ready[choice % len(ready)]
                chosen.retiring = chosen.retiring or "max-requests"
            case "more":
                roster.wanted += 1
            case "fewer":
                roster.wanted = max(1, roster.wanted - 1)
            case "ready" if booting:
                booting[choice % len(booting)].apply(Event.REPORTED_READY)
            case "dies" if alive:
                roster.remove(alive[choice % len(alive)])
            case "dies young" if booting:
                failed = booting[choice % len(booting)]
                roster.remove(failed)
                if failed.generation == self.trial:
                    self.end_canary()
                else:
                    roster.backoff(failed.slot).died(None, self.now)
            case "stall" if ready:
                ready[choice % len(ready)].apply(Event.BEAT_LATE)
            case "recover" if stalled:
                stalled[choice % len(stalled)].apply(Event.BEAT_AGAIN)
            case "wait":
                self.now += 40.0
        self.act()

    def calm_down(self) -> None:
        """Nothing happens any more but what follows."""
        for _ in range(8 * (self.roster.wanted + 2)):
            if not plan(self.roster, self.now + 40.0) and all(h.state is State.READY for h in self.roster):
                return
            self.now += 40.0
            self.act()
            for handle in self.roster.in_state(State.BOOTING):
                handle.apply(Event.REPORTED_READY)
            for handle in self.roster.in_state(State.STALLED):
                handle.apply(Event.BEAT_AGAIN)
            for handle in self.roster.in_state(State.DRAINING):
                self.roster.remove(handle)
        raise AssertionError("it has no end")


@given(OCCURRENCES, st.integers(1, 4))
def test_whatever_happens_each_generation_ends_with_the_workers_it_is_to_have(
    events: list[tuple[str, int, float]], wanted: int
) -> None:
    run = Run(wanted)
    for what, choice, share in events:
        run.happen(what, choice, share)
    run.calm_down()
    roster = run.roster
    assert plan(roster, run.now) == []
    assert sorted(handle.slot for handle in run.of(roster.generation)) == list(range(roster.wanted))
    assert sorted(handle.slot for handle in run.of(run.trial)) == list(range(run.most_on_trial()))
    assert len(roster.handles) == roster.wanted + run.most_on_trial()
    assert roster.settled
    assert not any(handle.retiring for handle in roster)


@given(
    st.lists(
        st.tuples(st.sampled_from(["retire", "ready", "dies", "more", "fewer"]), st.integers(0, 100)), max_size=12
    ),
    st.integers(1, 4),
    st.sampled_from([0.1, 0.5, 0.9]),
)
def test_a_promoted_canary_keeps_its_workers_whatever_became_of_the_old_ones(
    events: list[tuple[str, int]], wanted: int, share: float
) -> None:
    run = Run(wanted)
    run.calm_down()
    run.happen("canary", 0, share)
    run.calm_down()
    for what, choice in events:
        run.happen(what, choice, share)
    run.happen("promote", 0, share)
    served = run.served()
    run.calm_down()
    assert run.roster.settled
    assert run.served() >= served
