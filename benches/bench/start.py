"""From the command to the first answered request, with the compiled component in the cache."""

import statistics

from . import programs
from .processes import Server
from .report import Table


def start(options):
    native = [one for one in programs.native() if one.name in ("granian/flask", "gunicorn-sync/flask")]
    contestants = [
        programs.bare_hyper(),
        programs.wsgi_host("rust/fresh", programs.guest("bench/rust")),
        programs.wsgi_host("flask/fresh", programs.guest("bench/flask")),
        *native,
    ]
    contestants, missing = programs.able(contestants, options)
    runs = {one.name: [] for one in contestants}
    # One more than are counted: the first one fills the cache.
    for turn in range(2 * options.rounds + 1):
        for contestant in contestants:
            with Server(contestant, options.workers) as server:
                if turn:
                    runs[contestant.name].append(server.first_answer * 1e3)
    rows = [
        {
            "name": name,
            "median_ms": round(statistics.median(times), 1),
            "least_ms": round(min(times), 1),
            "most_ms": round(max(times), 1),
        }
        for name, times in runs.items()
    ]
    return Table(
        "start",
        f"From the command to the first answered request: {options.workers} workers, {2 * options.rounds} starts",
        {"name": "", "median_ms": "median ms", "least_ms": "least", "most_ms": "most"},
        rows,
        missing,
    )
