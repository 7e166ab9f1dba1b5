"""Serve an app with fastpysgi's `run`: fastpysgi_serve.py MODULE:NAME PORT WORKERS."""

import sys
from importlib import import_module

import fastpysgi

target, port, workers = sys.argv[1:]
module, _, name = target.partition(":")
fastpysgi.run(getattr(import_module(module), name), host="127.0.0.1", port=int(port), workers=int(workers))
