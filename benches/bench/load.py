"""wrk, and what it says."""

import dataclasses
import re
import subprocess

from . import programs

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclasses.dataclass(frozen=True)
class Run:
    """One turn of one contestant."""

    rate: float
    p50: float
    p99: float
    # Of all its processes together, for a request.
    processor_micros: float
    errors: str


def command(server, connections, seconds, path=None):
    url = server.url if path is None else f"http://127.0.0.1:{server.port}{path}"
    return [programs.wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", url]


def read(said):
    """Requests, their rate, the two quantiles in milliseconds, and what went wrong."""
    requests = int(re.search(r"(\d+) requests in", said).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1))
    errors = re.findall(r"^\s*(Non-2xx.*|Socket errors.*)$", said, re.MULTILINE)
    return requests, rate, quantile(said, 50), quantile(said, 99), "; ".join(errors)


def quantile(said, percent):
    number, unit = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", said, re.MULTILINE).groups()
    return float(number) * UNITS[unit]


def measure(server, connections, seconds):
    before = server.processor_seconds()
    done = subprocess.run(command(server, connections, seconds), capture_output=True, text=True, check=True)
    used = server.processor_seconds() - before
    requests, rate, p50, p99, errors = read(done.stdout)
    return Run(rate, p50, p99, used / max(requests, 1) * 1e6, errors)


def warm_up(server, connections):
    subprocess.run(command(server, connections, 1), capture_output=True, check=True)
