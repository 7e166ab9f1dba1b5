"""Tests of the benchmarks' pure parts: what they read, count and print."""
