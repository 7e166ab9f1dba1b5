"""The hands on Linux, against real sockets, files and processes, one at a time."""
