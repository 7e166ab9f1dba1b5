"""Thin hands on Linux: channels, listeners, shared memory, signals, cgroups, logs. No policy."""
