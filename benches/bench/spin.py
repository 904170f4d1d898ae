"""Good requests beside some that compute until their limit ends them."""

import http.client
import statistics
import subprocess
import threading
import time

from . import load, programs
from .processes import PATIENCE, Server
from .report import Table

# A request in twenty spins.
RATE, SPINS = 200, 10
LIMIT = "0.1"
CLIENTS, SPINNING = 64, 3


def spin(options):
    contestant = programs.wsgi_host("hostile/fresh", programs.guest("hostile"), "--limit-request-cpu", LIMIT)
    kinds = {
        f"{RATE} requests a second": paced,
        f"{CLIENTS} clients that never rest": saturated,
    }
    runs = {}
    able, missing = programs.able([contestant], options)
    if able:
        for _ in range(options.rounds):
            for kind, load_of in kinds.items():
                for spinning in (False, True):
                    with Server(contestant, options.workers, "/good", check=False) as server:
                        runs.setdefault((kind, spinning), []).append(load_of(server, spinning, options.seconds))
    rows = []
    for (kind, spinning), quantiles in runs.items():
        calm = runs[kind, False]
        ratios = [one[1] / two[1] for one, two in zip(quantiles, calm)]
        rows.append(
            {
                "name": kind + (", 5 % spin" if spinning else ""),
                "p50_ms": round(statistics.median(p50 for p50, _, _ in quantiles), 2),
                "p99_ms": round(statistics.median(p99 for _, p99, _ in quantiles), 2),
                "p99_ratio": round(statistics.median(ratios), 2),
                "spins_ended": sum(spins for _, _, spins in quantiles),
            }
        )
    return Table(
        "spin",
        f"Good requests while others compute until --limit-request-cpu {LIMIT}: {options.workers} workers",
        {"name": "", "p50_ms": "p50 ms", "p99_ms": "p99 ms", "p99_ratio": "p99 ratio", "spins_ended": "spins ended"},
        rows,
        missing,
    )


class Spinners:
    """Clients of /spin: each asks again when it was answered, or at its times."""

    def __init__(self, server, count, interval, until):
        self.ended = 0
        self.threads = [
            threading.Thread(target=self.run, args=(server, number, interval, until)) for number in range(count)
        ]
        for thread in self.threads:
            thread.start()

    def run(self, server, number, interval, until):
        due = time.monotonic() + number * (interval or 0) / max(len(self.threads), 1)
        while due < until:
            time.sleep(max(0, due - time.monotonic()))
            status, _, _ = server.get("/spin")
            self.ended += status == 500
            due = max(due + interval, time.monotonic()) if interval else time.monotonic()

    def join(self):
        for thread in self.threads:
            thread.join()
        return self.ended


def saturated(server, spinning, seconds):
    """wrk's clients ask as fast as they are answered; some of the clients, and not of its, only spin."""
    count = SPINNING if spinning else 0
    spinners = Spinners(server, count, None, time.monotonic() + seconds)
    done = subprocess.run(
        load.command(server, CLIENTS - count, seconds), capture_output=True, text=True, check=True
    )
    ended = spinners.join()
    _, _, p50, p99, _ = load.read(done.stdout)
    return p50, p99, ended


def paced(server, spinning, seconds):
    """Requests at their times, whatever became of those before: waiting for one's turn counts."""
    start = time.monotonic() + 0.1
    good, count = RATE - SPINS, 16
    latencies, threads = [], []
    # Spins take longer than they are apart, so they come from several clients.
    spinners = Spinners(server, SPINS if spinning else 0, 1.0, start + seconds)
    for number in range(count):
        due = [start + index / good for index in range(number, good * seconds, count)]
        thread = threading.Thread(target=ask, args=(server.port, due, latencies))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    ended = spinners.join()
    latencies.sort()
    return latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100], ended


def ask(port, due, latencies):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for when in due:
        time.sleep(max(0, when - time.monotonic()))
        connection.request("GET", "/good")
        connection.getresponse().read()
        latencies.append((time.monotonic() - when) * 1e3)
    connection.close()
