"""Jobs: CPU-heavy work that goes to a pool of processes. What app code imports is in `client`, `options`, `hooks`."""
