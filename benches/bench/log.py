"""What the access log costs: in its default format, to a file, or not at all."""

import pathlib
import tempfile

from . import programs
from .rates import Field


def log(options):
    field, connections = Field(options), options.connections[0]
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / "access.log"
        for mode in ("fresh", "kept"):
            plain = programs.wsgi_host(f"rust/{mode}", programs.guest("bench/rust"), kept=mode == "kept")
            field.enter(plain, options.workers, connections)
            logged = plain.with_options(f"{plain.name}, access log", "--access-logfile", file)
            field.enter(logged, options.workers, connections)
        field.play()
    rows = field.rows()
    for row in rows:
        plain = row["name"].partition(",")[0]
        row["rate_ratio"] = field.ratio(row["name"], plain) if plain != row["name"] else None
    return field.table("log", f"With an access log and without: wrk -t1 -c{connections}", rows, {"rate_ratio": "rate"})
