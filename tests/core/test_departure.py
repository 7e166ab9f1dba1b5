"""How a server takes its leave, by a clock of the test's."""

from prefork.core.departure import Departure, Step


def serving(delay: float = 0.0) -> Departure:
    departure = Departure(delay)
    departure.serves = True
    return departure


def test_a_server_boots_serves_and_stops() -> None:
    departure = Departure(0.0)
    states: list[str] = [departure.state]
    departure.serves = True
    states.append(departure.state)
    assert departure.ask(10.0) is Step.STOP
    assert [*states, departure.state] == ["booting", "ready", "stopping"]


def test_who_asks_once_more_has_everybody_killed() -> None:
    departure = serving()
    departure.ask(10.0)
    assert departure.ask(11.0) is Step.KILL
    assert departure.ask(11.0, hurry=True) is Step.KILL


def test_with_a_delay_the_server_drains_first() -> None:
    departure = serving(5.0)
    before = departure.ends
    assert departure.ask(10.0) is Step.WAIT
    assert (before, departure.ends) == (False, True)
    draining = departure.state
    assert departure.stop_at == 15.0
    assert not departure.due(14.9)
    assert departure.due(15.0)
    assert (draining, departure.state) == ("draining", "stopping")
    assert not departure.due(15.1), "once"


def test_who_asks_again_ends_the_delay() -> None:
    departure = serving(5.0)
    departure.ask(10.0)
    assert departure.ask(11.0) is Step.STOP
    assert not departure.due(15.0)
    assert departure.ask(12.0) is Step.KILL


def test_who_is_in_a_hurry_waits_for_no_delay() -> None:
    assert serving(5.0).ask(10.0, hurry=True) is Step.STOP


def test_a_server_that_boots_has_nothing_to_wait_for() -> None:
    assert Departure(5.0).ask(10.0) is Step.STOP


def test_time_drained_by_a_command_counts() -> None:
    departure = serving(5.0)
    departure.drain(10.0)
    assert departure.state == "draining"
    assert not departure.due(100.0)
    departure.drain(12.0)
    assert departure.ask(13.0) is Step.WAIT
    assert departure.stop_at == 15.0
    late = serving(5.0)
    late.drain(10.0)
    assert late.ask(15.0) is Step.STOP


def test_the_first_who_asks_after_a_hand_over_has_not_lost_patience() -> None:
    departure = serving()
    departure.hand_over()
    assert departure.state == "stopping"
    assert departure.ask(10.0) is Step.NOTHING
    assert departure.ask(11.0) is Step.KILL
    hurried = serving()
    hurried.hand_over()
    assert hurried.ask(10.0, hurry=True) is Step.KILL
