"""The main ratios for the README, between two marks: what is said there was measured, and by which command."""

import re

from . import report

BEGIN, END = "<!-- speed: benches/run --write -->", "<!-- end of speed -->"


def section(results, tables):
    rows = {table.name: {row["name"]: row for row in table.rows} for table in tables}
    machine = results["machine"]
    place = f"{machine['cores']} cores ({machine['processor']}), Linux {machine['kernel']}"
    yield f"Measured by `{results['command']}` on {machine['date'][:10]}, {place}:"
    yield ""
    yield from hellos(rows.get("rates", {}))
    for name, lines in (("links", links), ("", others)):
        if not name or name in rows:
            yield ""
            yield from lines(rows.get(name, rows))


def hellos(rates):
    yield "| hello world | requests/s | of bare hyper | times that of |"
    yield "| --- | --- | --- | --- |"
    for name, row in rates.items():
        if name.startswith("wsgi-host/") and "access-log" not in name:
            _, app, mode = name.split("/")
            instance = "fresh instances" if mode == "fresh" else "kept instances"
            times = ", ".join(f"{ratio:.2f} {peer}" for peer, ratio in row["ratios"].items() if ratio)
            of_limit = report.shown(row["ratio_to_bare_hyper"])
            yield f"| {app}, {instance} | {row['requests_per_second']:,} | {of_limit} | {times} |"


def links(rows):
    yield "| middleware around the Rust hello: processor time for a request, alone is 1 | 1 link | 4 links |"
    yield "| --- | --- | --- |"
    for link in ("pass", "access-log"):
        for mode in ("fresh", "kept"):
            for how, composed in (("run by the host", ""), ("composed", ", composed")):
                cells = [rows.get(f"wsgi-host/{count} {link}{composed}/{mode}") for count in (1, 4)]
                if all(cells):
                    one, four = (f"{cell['processor_ratio']:.1f} (+{cell['micros_on_top']:.0f} us)" for cell in cells)
                    yield f"| `{link}`, {mode} instances, {how} | {one} | {four} |"


def others(rows):
    facts = [
        (f"from one worker to two, {name.removesuffix(' w2')}", f"{row['growth']:.2f} times")
        for name, row in rows.get("growth", {}).items()
        if row["growth"]
    ]
    for name, row in rows.get("transfer", {}).items():
        if name.startswith("wsgi-host"):
            speed = f"{row['megabytes_per_second']} MB/s, {report.shown(row['ratio_to_bare_hyper'])} of bare hyper"
            what = f"1 GiB {row['direction']} through a guest, in blocks of 64 KiB"
            facts.append((what, f"{speed}; {row['grown_kib']} KiB more memory"))
    for name, row in rows.get("start", {}).items():
        facts.append((f"from the command to the first answer, {name}", f"{row['median_ms']:.0f} ms"))
    for name, row in rows.get("idle", {}).items():
        if row["moment"].startswith("after many"):
            kib = f"{row['first_kib'] / 1024:.1f} + {row['workers_kib'] / 1024:.1f} MiB"
            facts.append((f"idle after load: arbiter and workers, {name}", kib))
    for name, row in rows.get("connections", {}).items():
        facts.append((f"each of {row['connections']:,} idle connections, {name}", f"{row['kib_each']:.1f} KiB"))
    for name, row in rows.get("spin", {}).items():
        if name.endswith("spin"):
            facts.append((f"p99 of good requests, {name}", f"{row['p99_ratio']:.1f} times that without these"))
    for name, row in rows.get("log", {}).items():
        if row["rate_ratio"]:
            ratio = f"{row['rate_ratio']:.2f} of the rate without"
            facts.append((f"with the access log, {name.partition(',')[0]}", ratio))
    if facts:
        yield "| | |"
        yield "| --- | --- |"
        yield from (f"| {what} | {number} |" for what, number in facts)


def put(path, lines):
    """Into the file, in the place of what the last run said."""
    text = path.read_text(encoding="utf-8")
    block = "\n".join([BEGIN, *lines, END])
    pattern = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    path.write_text(pattern.sub(lambda _: block, text), encoding="utf-8")
