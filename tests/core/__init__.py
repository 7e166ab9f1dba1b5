"""Decisions, tested as what they are: plain functions over records, with times passed in."""
