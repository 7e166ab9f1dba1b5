"""The page docs/control.md, made from the command table."""

from __future__ import annotations

from textwrap import fill

from prefork.control.conversation import HALF_LINE_SECONDS, IDLE_SECONDS, WRITE_SECONDS
from prefork.control.events import EVENTS, OF_A_KIND
from prefork.control.happened import KINDS
from prefork.control.place import NAMESAKES
from prefork.control.socket import CONNECTIONS
from prefork.control.table import COMMANDS, Argument, Command
from prefork.control.wire import ANSWER_BYTES, LINE_BYTES

HEADER = """\
# Control: ask and steer a running server

<!-- Written by `{command}` from prefork/control/table.py. Do not edit. -->

A running server answers commands on a Unix socket: what it does right now, and what it did. The commands of `prefork`
below ask it; [`prefork top`](top.md) and the [admin server](admin.md) do so once a second.

```console
$ prefork status
server       shop: ready, prefork 0.1.0, pid 2846, up 3m20s
target       shop:app, generation 1
address      http://127.0.0.1:8000
admin        none
workers      2 ready, 2 wanted, 0 started again; 2 CPUs
requests     12.3k answered, 3 with 5xx, 2.1ms each
connections  17 open, 0 waiting; 412 accepted, 0 refused
passed on    0 unread ones taken back, 4 idle ones handed back
jobs         0 waiting, 1 running, 1 offloaders; 118 done

SLOT GEN  PID STATE   AGE CONN REQ OLDEST BUSY   LAG RSS  CPU NOTE
   0   1 2862 ready 3m20s    9   2   1.9s  31% 2.0ms 34M 1m02s
   1   1 2864 ready 3m20s    8   0      -  28% 0.4ms 34M   58s

$ prefork stacks 0           # what a worker does right now, also while its event loop is blocked
$ prefork reload             # new code, no request lost
$ prefork events --follow    # what the master does and sees
```

Every command takes `--json` and then prints what the server told, for programs. Exit codes: 0 it is done or begun,
1 the server refused or there is none, 2 the command line is wrong; one line on standard error says why.

## Which server

Each server has a name: `--name`, or else its target's module (`shop` for `shop:app`). A second one of that name gets a
number, `shop-2`, and says so in its log; after {namesakes} it runs without a control socket. The commands ask

1. the server at `--control PATH` (`@NAME` is an abstract socket), or called `--name NAME`;
2. else the one that `PREFORK_CONTROL` or `PREFORK_NAME` says, or `control` or `name` in `prefork.toml` of the current
   folder;
3. else the only server of your user on this machine. If there are several, the error has their names.

The setting `control` (`prefork serve --control`) says where the socket is:

| value | socket |
| --- | --- |
| `auto` | `$XDG_RUNTIME_DIR/prefork/NAME.sock`, if that folder is ours alone; else, abstract, `@prefork-UID-NAME` |
| a path, or `@NAME` | there; its folder must exist |
| `none` | there is none |

It has mode 0600, and on each connection the kernel tells who is there: only the server's own user and root are let in;
the commands, too, speak to no server of another user. **A socket that cannot be made is no error**: with `auto` it is a
debug line, with a path a warning, and the server runs on. Read-only and rootless containers work as they are. What a
killed server left behind is replaced; at the end the file is removed. After an upgrade, the new master has the socket.

An abstract socket belongs to a network namespace: `docker exec CONTAINER prefork status` works, and the host does not
see it.

## Commands
"""
_KINDS = ", ".join(f"`{kind}`" for kind in KINDS)
_EVENT = f"The field `event` says in a word what happened ({_KINDS}), and `worker` to whom."

NOTES = {
    "connections": """\
Requests in flight are read from shared memory, targets without their query. Open connections are told by the workers;
those that do not answer within half a second are named: their event loop is blocked.""",
    "jobs": """\
From shared memory that each worker writes with its heartbeat, so the jobs of a blocked worker are told too. Up to 200
of each worker.""",
    "settings": """\
On the command line this is `prefork settings --running`; without `--running`, `prefork settings` shows what a server
started here *would* have, and where each value comes from. Secrets are masked in both.""",
    "events": f"""\
The lines of the master's log from `info` on, whatever `--log-level` says, with the fields that JSON logs have. The last
{EVENTS} are kept, and of the same line with other numbers {OF_A_KIND}: a worker that dies all the time does not push
out why. `prefork events --follow` goes on with what comes. An upgrade takes them along.

{fill(_EVENT, 120)}""",
    "reload": "As SIGHUP. `--canary 10%`: [canary reload](canary.md).",
    "upgrade": """\
As SIGUSR2: [upgrade](upgrade.md). It is answered when the new master serves, or with the reason why it could not
start.""",
    "scale": "`prefork scale 4`, or `prefork scale 2:8` for as many as there is work for: [workers](workers.md).",
    "kill": "For one that hangs. Its requests in flight are lost, and named in the log; nothing else is.",
    "stacks": """\
Of workers, their offloaders and actors, as faulthandler writes them, in C: a blocked event loop or a long job does not
matter. A process that writes nothing within two seconds is stopped, and is told as such.""",
    "drain": "For load balancers: `/readyz` of the admin server says no from now on. `prefork stop` ends it.",
    "stop": "As SIGTERM; with `--fast` as SIGINT.",
    "log-level": """\
In the master, the molds and all workers, and in what is forked from now on. Offloaders, actors and forks that live keep
theirs. The app's own loggers follow where they write to the server's log.""",
}
FOOTER = """
## The wire

One JSON object a line, each way. Requests on one connection are answered in their order.

```console
$ SOCKET=$XDG_RUNTIME_DIR/prefork/shop.sock
$ echo '{{"command": "scale", "arguments": {{"workers": "4"}}}}' | socat - UNIX-CONNECT:$SOCKET
{{"result":{{"done":"4 workers wanted"}}}}
$ echo '{{"command": "kill", "arguments": {{"slot": 9}}}}' | socat - ABSTRACT-CONNECT:prefork-1000-shop
{{"error":"there is no worker in slot 9; there are 0, 1, 2, 3"}}
```

What the results hold is declared in `prefork/control/status.py`: times that end in `_at` are seconds of the epoch, ages
and durations seconds, sizes bytes; counts only grow. Fields may be added. From Python:

```python
import os

from prefork.control.finding import dial

with dial("shop", None, os.environ) as client:
    print(client.ask("status")["workers"])
```

The socket is served by the master's own loop, which never waits for a client:

| bound | |
| --- | --- |
| connections at a time | {connections} |
| bytes of a request's line | {line} |
| bytes of an answer | {answer} |
| for the rest of a line that has begun | {half:g} s |
| without a command | {idle:g} s |
| for a client that does not read its answer | {write:g} s |

A line that is no command gets an error, and the connection stays; what breaks a bound gets an error, and is closed.
"""


def control_page(command: str) -> str:
    """The text of docs/control.md; `command` writes it."""
    parts = [HEADER.format(command=command, namesakes=NAMESAKES)]
    for access, title in (("read", "Read"), ("write", "Write")):
        parts.append(f"\n### {title}\n\n| command | |\n| --- | --- |\n")
        chosen = [one for one in COMMANDS.values() if one.access == access]
        parts += [f"| `{_usage(one)}` | {one.help} |\n" for one in chosen]
        for one in chosen:
            if one.arguments or one.name in NOTES:
                parts.append(_section(one))
    parts.append(
        FOOTER.format(
            connections=CONNECTIONS,
            line=LINE_BYTES,
            answer=ANSWER_BYTES,
            half=HALF_LINE_SECONDS,
            idle=IDLE_SECONDS,
            write=WRITE_SECONDS,
        )
    )
    return "".join(parts)


def _section(command: Command) -> str:
    lines = [f"\n**{command.name}**\n"]
    if command.arguments:
        lines += ["", "| argument | kind | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{one.name}` | {_kind(one)} | {one.help} |" for one in command.arguments]
        lines.append("")
    if command.name in NOTES:
        lines += ["", NOTES[command.name], ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def _kind(argument: Argument) -> str:
    words = {"integer": "whole number", "share": "share, 10% or 0.1", "switch": "true or false"}
    kind = ", ".join(argument.choices) or words.get(argument.kind, argument.kind)
    return kind if argument.required else f"{kind}; may be left out"


def _usage(command: Command) -> str:
    words = ["prefork settings --running" if command.name == "settings" else f"prefork {command.name}"]
    for one in command.arguments:
        if one.option:
            value = "" if one.kind == "switch" else f" {one.name.upper()}"
            words.append(f"[--{one.name}{value}]")
        else:
            words.append(one.name.upper() if one.required else f"[{one.name.upper()}]")
    return " ".join(words)
