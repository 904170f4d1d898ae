"""A large body down and up: how fast, and whether a worker's memory stays flat."""

import socket
import statistics
import time

from . import programs
from .processes import PATIENCE, Failed, Server, kib
from .report import Table

BLOCK = memoryview(b"x" * (1 << 20))


def transfer(options):
    size = 16 << 20 if options.smoke else 1 << 30
    # The app of guest-apps, as it is: it makes and takes blocks of 64 KiB.
    app = programs.guest("rust")
    contestants = [programs.bare_hyper(), programs.wsgi_host("rust app/fresh", app)]
    contestants, missing = programs.able(contestants, options)
    rows = [
        {"name": f"{contestant.name} {direction}", "direction": direction, "runs": []}
        for contestant in contestants
        for direction in ("down", "up")
    ]
    for _ in range(options.rounds):
        for row in rows:
            contestant = next(one for one in contestants if row["name"].startswith(one.name))
            with Server(contestant, 1, check=False) as server:
                row["runs"].append(once(server, row["direction"], size))
    limits = {row["direction"]: row for row in rows if row["name"].startswith("bare-hyper")}
    for row in rows:
        row["megabytes_per_second"] = round(statistics.median(speed for speed, _, _ in row["runs"]) / 1e6)
        row["resident_kib"] = round(statistics.median(before for _, before, _ in row["runs"]))
        row["grown_kib"] = max(grown for _, _, grown in row["runs"])
        row["ratio_to_bare_hyper"] = None
        if limit := limits.get(row["direction"]):
            pairs = zip(row["runs"], limit["runs"])
            row["ratio_to_bare_hyper"] = round(statistics.median(one[0] / two[0] for one, two in pairs), 3)
    for row in rows:
        del row["runs"]
    return Table(
        "transfer",
        f"{size >> 20} MiB on one connection, to and from one worker",
        {
            "name": "",
            "megabytes_per_second": "MB/s",
            "ratio_to_bare_hyper": "of bare hyper",
            "resident_kib": "resident KiB",
            "grown_kib": "grown KiB at most",
        },
        rows,
        missing,
    )


def once(server, direction, size):
    """Bytes a second; the worker's resident memory before, and by how much it was more in between."""
    (worker,) = server.workers()
    before = kib(worker, "status", "VmRSS")
    with open(f"/proc/{worker}/clear_refs", "w", encoding="ascii") as file:
        # The peak is counted from now on: proc_pid_clear_refs(5).
        file.write("5")
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        (download if direction == "down" else upload)(connection, size)
    seconds = time.monotonic() - started
    return size / seconds, before, kib(worker, "status", "VmHWM") - before


def download(connection, size):
    connection.sendall(f"GET /stream/{size} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    head, start = read_head(connection)
    buffer, received = bytearray(1 << 20), len(start)
    while received < size:
        length = connection.recv_into(buffer)
        if not length:
            raise Failed(f"{received} of {size} bytes came: {head}")
        received += length


def upload(connection, size):
    head = f"POST /count HTTP/1.1\r\nHost: bench\r\nContent-Length: {size}\r\n\r\n"
    connection.sendall(head.encode())
    for _ in range(size // len(BLOCK)):
        connection.sendall(BLOCK)
    head, body = read_head(connection)
    while not body.endswith(b"\n"):
        more = connection.recv(1 << 16)
        if not more:
            break
        body += more
    if body != f"{size} bytes\n".encode():
        raise Failed(f"it counted {body}: {head}")


def read_head(connection):
    read = b""
    while b"\r\n\r\n" not in read:
        more = connection.recv(1 << 16)
        if not more:
            raise Failed(f"the connection ended with {read}")
        read += more
    head, _, rest = read.partition(b"\r\n\r\n")
    if b" 200 " not in head.splitlines()[0]:
        raise Failed(f"the answer is {head}")
    return head, rest
