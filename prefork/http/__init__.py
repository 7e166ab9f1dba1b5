"""One HTTP/1.1 connection: bytes in, exchanges out. Knows nothing of apps and processes."""
