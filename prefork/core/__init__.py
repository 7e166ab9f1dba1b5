"""Decisions as pure functions and tables. No sockets, no clocks, no fork: callers pass in what they see."""
