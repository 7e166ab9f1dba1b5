"""One HTTP/1.1 connection in memory: a loop without a kernel, a transport without a socket, a clock that is told."""
