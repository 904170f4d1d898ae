"""Requests a second: everybody in turns, several rounds, so that what the machine does meanwhile happens to all."""

import pathlib
import statistics
import subprocess
import sys
import tempfile

from . import load, programs
from .processes import Failed, Server
from .report import Table

COLUMNS = {
    "requests_per_second": "req/s",
    "spread_percent": "spread %",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "processor_micros": "cpu us/req",
}


class Field:
    """Those that take part, by a label: a contestant, and how many workers and connections it has."""

    def __init__(self, options):
        self.options = options
        self.entries = {}
        self.missing = {}
        self.runs = {}

    def enter(self, contestant, workers, connections, label=None):
        label = label or contestant.name
        if not any(label.startswith(prefix) for prefix in self.options.contestants):
            return
        if reason := contestant.missing():
            self.missing[label] = reason
        else:
            self.entries[label] = (contestant, workers, connections)

    def play(self):
        for turn in range(self.options.rounds):
            for label, entry in self.entries.items():
                if label in self.missing:
                    continue
                print(f"  {turn + 1}/{self.options.rounds} {label}", file=sys.stderr)
                try:
                    self.runs.setdefault(label, []).append(self.turn(*entry))
                except Failed as failed:
                    self.missing[label] = str(failed)
                    self.runs.pop(label, None)

    def turn(self, contestant, workers, connections):
        with Server(contestant, workers) as server:
            if not self.options.smoke:
                load.warm_up(server, connections)
            return load.measure(server, connections, self.options.seconds)

    def rows(self):
        return [self.row(label) for label in self.runs]

    def row(self, label):
        runs, (contestant, workers, connections) = self.runs[label], self.entries[label]
        rates = [run.rate for run in runs]
        middle = statistics.median(rates)
        return {
            "name": label,
            "app": contestant.app,
            "workers": workers,
            "connections": connections,
            "requests_per_second": round(middle),
            "spread_percent": round(100 * (max(rates) - min(rates)) / middle) if middle else None,
            "p50_ms": round(statistics.median(run.p50 for run in runs), 3),
            "p99_ms": round(statistics.median(run.p99 for run in runs), 3),
            "processor_micros": round(statistics.median(run.processor_micros for run in runs), 1),
            "errors": "; ".join(sorted({run.errors for run in runs if run.errors})),
            "all_rates": [round(rate) for rate in rates],
        }

    def ratio(self, label, other, of=lambda run: run.rate):
        """The median of the ratios of each round: neighbours in time are compared."""
        if label not in self.runs or other not in self.runs:
            return None
        pairs = [(of(one), of(two)) for one, two in zip(self.runs[label], self.runs[other])]
        if not all(two for _, two in pairs):
            return None
        return round(statistics.median(one / two for one, two in pairs), 3)

    def table(self, name, title, rows, columns, notes=()):
        errors = [f"errors: {row['name']}: {row['errors']}" for row in rows if row["errors"]]
        return Table(name, title, {"name": "", **COLUMNS, **columns}, rows, self.missing, [*errors, *notes])


def rates(options):
    """Everybody's hello."""
    field = Field(options)
    for connections in options.connections:
        for contestant in programs.all_contestants():
            field.enter(contestant, options.workers, connections, labelled(options, contestant.name, connections))
    field.play()
    rows = field.rows()
    notes = []
    for row in rows:
        name, _, suffix = row["name"].partition(" ")
        row["ratio_to_bare_hyper"] = field.ratio(row["name"], labelled(options, "bare-hyper", row["connections"]))
        row["ratios"] = {}
        if name.startswith("wsgi-host/"):
            peers = (peer for peer in rows if peer["app"] == row["app"] and peer["connections"] == row["connections"])
            row["ratios"] = {
                peer["name"]: field.ratio(row["name"], peer["name"])
                for peer in peers
                if not peer["name"].startswith(("wsgi-host/", "bare-hyper"))
            }
            if row["ratios"]:
                times = (f"{ratio:.2f} {peer.partition(' ')[0]}" for peer, ratio in row["ratios"].items() if ratio)
                notes.append(f"{row['name']} = {', '.join(times)}")
    title = f"Requests a second: {options.workers} workers, wrk -t1, {options.rounds} rounds of {options.seconds} s"
    return field.table("rates", title, rows, {"ratio_to_bare_hyper": "of bare hyper"}, notes)


def labelled(options, name, connections):
    return name if len(options.connections) == 1 else f"{name} c{connections}"


def growth(options):
    """From one worker to two."""
    field, connections = Field(options), options.connections[0]
    rust = programs.guest("bench/rust")
    contestants = [programs.bare_hyper()]
    contestants += [programs.wsgi_host(f"rust/{mode}", rust, kept=mode == "kept") for mode in ("fresh", "kept")]
    for contestant in contestants:
        for workers in (1, 2):
            field.enter(contestant, workers, connections, f"{contestant.name} w{workers}")
    field.play()
    rows = field.rows()
    for row in rows:
        row["growth"] = field.ratio(row["name"], row["name"].replace(" w2", " w1")) if row["workers"] == 2 else None
    title = f"From one worker to two: wrk -t1 -c{connections} has a share of the same cores"
    return field.table("growth", title, rows, {"growth": "growth"})


def links(options):
    """What a link of a chain costs, run by the host and composed ahead of time; one worker."""
    field, connections = Field(options), options.connections[0]
    rust = programs.guest("bench/rust")
    files = {"pass": programs.guest("bench/pass"), "access-log": programs.guest("middleware/access-log")}
    with tempfile.TemporaryDirectory() as directory:
        for mode in ("fresh", "kept"):
            kept = mode == "kept"
            field.enter(programs.wsgi_host(f"alone/{mode}", rust, kept=kept), 1, connections)
            for link, file in files.items():
                for count in (1, 4):
                    chain = programs.wsgi_host(f"{count} {link}/{mode}", rust, middleware=[file] * count, kept=kept)
                    field.enter(chain, 1, connections)
                    composed = pathlib.Path(directory) / f"{count}-{link}.wasm"
                    contestant = programs.wsgi_host(f"{count} {link}, composed/{mode}", composed, kept=kept)
                    if reason := chain.missing():
                        field.missing[contestant.name] = reason
                    else:
                        compose([file] * count, rust, composed)
                        field.enter(contestant, 1, connections)
        field.play()
    rows = field.rows()
    for row in rows:
        alone = "wsgi-host/alone/" + row["name"].rpartition("/")[2]
        row["rate_ratio"] = field.ratio(row["name"], alone)
        row["processor_ratio"] = field.ratio(row["name"], alone, lambda run: run.processor_micros)
        if alone in field.runs:
            row["micros_on_top"] = round(row["processor_micros"] - field.row(alone)["processor_micros"], 1)
    title = f"Middleware around the Rust hello: one worker, wrk -t1 -c{connections}"
    columns = {"rate_ratio": "rate", "processor_ratio": "cpu", "micros_on_top": "us on top"}
    return field.table("links", title, rows, columns)


def compose(files, app, out):
    subprocess.run([programs.HOST, "compose", *files, app, "-o", out], check=True)
