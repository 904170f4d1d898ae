"""Memory of servers that have nothing to do, and of connections on which nothing happens."""

import resource
import socket
import time

from . import load, programs
from .processes import PATIENCE, Server, proportional_kib
from .report import Table
from .transfer import read_head

CONNECTIONS = 10_000
# What one client address may have of a worker by default is more.
PER_ADDRESS = 200
# A server may give memory back a little later: it is looked at until it has not changed for so many
# seconds, and not more often than this.
SETTLED, LOOKS = 1.0, 10


def idle(options):
    """The arbiter and its workers, after a request and after many."""
    contestants = [
        programs.bare_hyper(),
        programs.wsgi_host("rust/fresh", programs.guest("bench/rust")),
        programs.wsgi_host("flask/fresh", programs.guest("bench/flask")),
        programs.wsgi_host("flask/kept", programs.guest("bench/flask"), kept=True),
        *(one for one in programs.native() if one.name in ("granian/flask", "gunicorn-sync/flask")),
    ]
    contestants, missing = programs.able(contestants, options)
    rows = []
    for contestant in contestants:
        with Server(contestant, options.workers) as server:
            rows.append(held(server, "after a request"))
            load.measure(server, 64, options.seconds)
            rows.append(held(server, "after many, 64 at once"))
    return Table(
        "idle",
        f"Memory of an idle server: {options.workers} workers, proportional set size in KiB",
        {"name": "", "moment": "", "first_kib": "arbiter", "workers_kib": "workers", "together_kib": "together"},
        rows,
        missing,
    )


def held(server, moment):
    together = settled(server.processes)
    first = proportional_kib(server.process.pid)
    return {
        "name": server.contestant.name,
        "moment": moment,
        "first_kib": first,
        "workers_kib": together - first,
        "together_kib": together,
    }


def settled(processes):
    last = None
    for _ in range(LOOKS):
        now = sum(proportional_kib(pid) for pid in processes())
        if now == last:
            return now
        last = now
        time.sleep(SETTLED)
    return last


def connections(options):
    """What a kept connection takes between two requests."""
    wanted = 100 if options.smoke else CONNECTIONS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(wanted, hard - 200)
    places = ("--worker-connections", str(count), "--keep-alive", "600")
    contestants = [
        programs.bare_hyper(),
        programs.wsgi_host("rust/fresh", programs.guest("bench/rust"), *places),
    ]
    contestants, missing = programs.able(contestants, options)
    rows = []
    for contestant in contestants:
        with Server(contestant, options.workers) as server:
            before = settled(server.workers)
            held_open = [converse(server.port, number) for number in range(count)]
            after = settled(server.workers)
            still = sum(is_open(connection) for connection in held_open)
            for connection in held_open:
                connection.close()
        rows.append(
            {
                "name": contestant.name,
                "connections": still,
                "before_kib": before,
                "after_kib": after,
                "kib_each": round((after - before) / max(still, 1), 2),
            }
        )
    notes = [] if count == wanted else [f"{count} connections instead of {wanted}: so many descriptors are allowed"]
    return Table(
        "connections",
        f"Idle connections after a request each: proportional set size of {options.workers} workers, without the kernel",
        {
            "name": "",
            "connections": "open",
            "before_kib": "KiB before",
            "after_kib": "KiB after",
            "kib_each": "KiB each",
        },
        rows,
        missing,
        notes,
    )


def converse(port, number):
    address = f"127.0.1.{1 + number // PER_ADDRESS}"
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE, (address, 0))
    connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
    _, body = read_head(connection)
    while len(body) < len(programs.BODY):
        body += connection.recv(1024)
    return connection


def is_open(connection):
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False
