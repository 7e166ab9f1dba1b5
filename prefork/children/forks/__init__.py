"""Forked children: Python processes to talk to."""
