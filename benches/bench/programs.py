"""Who takes part: every server with its command, what it needs, and what it is to answer."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"
HOST = TARGET / "release/wsgi-host"
HYPER = TARGET / "release/bare-hyper"
WASMTIME = TARGET / "tools/wasmtime/bin/wasmtime"
PYTHON = TARGET / "tools/bench-python"
GUESTS = TARGET / "guests"
SOURCES = ROOT / "benches/guests"

BODY = b"hello world\n"
CONTENT_TYPE = "text/plain; charset=utf-8"


@dataclasses.dataclass(frozen=True)
class Contestant:
    name: str
    # With the words {port} and {workers} in them.
    command: tuple
    # The app that it serves; contestants with the same one are compared.
    app: str = ""
    directory: pathlib.Path = ROOT
    # Files that it needs beside its program.
    needs: tuple = ()

    def arguments(self, port, workers):
        return [str(word).format(port=port, workers=workers) for word in self.command]

    def missing(self):
        """Why it cannot take part, or nothing."""
        for path in (self.command[0], *self.needs):
            if not os.path.exists(path):
                return reason(pathlib.Path(path))
        return None

    def with_options(self, name, *options):
        return dataclasses.replace(self, name=name, command=(*self.command, *options))


def reason(path):
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    failed = PYTHON / f"{path.name}.failed"
    if failed.exists():
        lines = failed.read_text(errors="replace").strip().splitlines()
        return f"benches/install could not install it: {lines[-1] if lines else 'it did not say why'}"
    if path.is_relative_to(GUESTS):
        name = path.relative_to(GUESTS).with_suffix("")
        return f"{shown} is missing: guest-apps/install, then guest-apps/build {name}"
    if path in (HOST, HYPER):
        return f"{shown} is missing: cargo build --release -p wsgi-host -p bare-hyper"
    return f"{shown} is missing: benches/install"


def guest(name):
    return GUESTS / f"{name}.wasm"


def wsgi_host(name, app, *options, middleware=(), kept=False):
    command = [HOST, "serve", app, "--bind", "127.0.0.1:{port}", "--workers", "{workers}", *options]
    for link in middleware:
        command += ["--middleware", link]
    if kept:
        command += ["--max-requests", "0"]
    return Contestant(f"wsgi-host/{name}", tuple(command), app.stem, needs=(app, *middleware))


def bare_hyper():
    return Contestant("bare-hyper", (HYPER, "{port}", "{workers}"), "rust")


def of_wasmtime():
    app = guest("bench/wasi-http")
    for name, uses in (("fresh", 1), ("kept", 1_000_000)):
        options = ("-Scli", "--addr", "127.0.0.1:{port}", "--max-instance-reuse-count", uses)
        command = (WASMTIME, "serve", *options, app)
        yield Contestant(f"wasmtime-serve/rust/{name}", command, "rust", needs=(app,))


def native():
    """The same Python app in servers that run it in their own process."""
    servers = {
        "granian": "granian --interface wsgi --host 127.0.0.1 --port {port} --workers {workers} --no-access-log {app}",
        "uwsgi": "uwsgi --http-socket 127.0.0.1:{port} --master --processes {workers} --listen 1024 --die-on-term "
        "--disable-logging --need-app --module {app}",
        "gunicorn-sync": "gunicorn --bind 127.0.0.1:{port} --workers {workers} --worker-class sync {app}",
        "gunicorn-gthread": "gunicorn --bind 127.0.0.1:{port} --workers {workers} --worker-class gthread --threads 4 "
        "{app}",
        "waitress": "waitress-serve --listen=127.0.0.1:{port} --threads=4 {app}",
    }
    for app, named in (("python", "app:application"), ("flask", "app:app")):
        for server, line in servers.items():
            program, *words = line.replace("{app}", named).split()
            command = (PYTHON / "bin" / program, *words)
            yield Contestant(f"{server}/{app}", command, app, SOURCES / app)


def of_wsgi_host():
    rust, links = guest("bench/rust"), {"pass": guest("bench/pass"), "access-log": guest("middleware/access-log")}
    for kept, mode in ((False, "fresh"), (True, "kept")):
        yield wsgi_host(f"rust/{mode}", rust, kept=kept)
        for link, file in links.items():
            yield wsgi_host(f"rust+{link}/{mode}", rust, middleware=[file], kept=kept)
        yield wsgi_host(f"c/{mode}", guest("bench/c"), kept=kept)
        yield wsgi_host(f"javascript/{mode}", guest("bench/javascript"), kept=kept)
        yield wsgi_host(f"python/{mode}", guest("bench/python"), kept=kept)
        yield wsgi_host(f"flask/{mode}", guest("bench/flask"), kept=kept)


def all_contestants():
    return [bare_hyper(), *of_wsgi_host(), *of_wasmtime(), *native()]


def able(contestants, options):
    """Those that were chosen and are there; and why the others of the chosen are not."""
    chosen = [one for one in contestants if one.name.startswith(tuple(options.contestants))]
    missing = {one.name: reason for one in chosen if (reason := one.missing())}
    return [one for one in chosen if one.name not in missing], missing


def build():
    """Builds what is built from this repository; those that are installed are only looked for."""
    run(["cargo", "build", "--release", "--locked", "--quiet", "-p", "wsgi-host", "-p", "bare-hyper"])
    for name in ("rust", "middleware/access-log", "hostile"):
        run([ROOT / "guest-apps/build", name], may_fail=True)
    for name in ("rust", "pass", "wasi-http", "c", "javascript", "python", "flask"):
        run([ROOT / "guest-apps/build", f"bench/{name}"], may_fail=True)


def run(command, may_fail=False):
    """What could not be built is listed as missing."""
    done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
    if done.returncode and not may_fail:
        sys.exit(f"benches/run: {' '.join(map(str, command))} failed")


def wrk():
    return shutil.which("wrk") or sys.exit("benches/run: wrk is missing: benches/install")
