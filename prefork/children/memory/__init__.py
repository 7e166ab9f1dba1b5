"""Memory that several processes share: buffers, counters, locks."""
