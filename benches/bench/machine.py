"""Where and with what was measured."""

import datetime
import os
import platform
import re
import subprocess

from . import programs


def describe():
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": said("git", "-C", programs.ROOT, "describe", "--always", "--dirty", "--exclude=*"),
        "cores": f"{len(os.sched_getaffinity(0))}",
        "processor": processor(),
        "kernel": platform.release(),
        "versions": versions(),
    }


def processor():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        found = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def versions():
    found = {
        "rustc": said("rustc", "--version"),
        "wsgi-host": said(programs.HOST, "--version"),
        "hyper": locked("hyper"),
        "wasmtime (library)": locked("wasmtime"),
        "wasmtime (program)": said(programs.WASMTIME, "--version"),
        "wrk": (said(programs.wrk(), "--version") or "").split(" [")[0] or None,
        "python": said(programs.PYTHON / "bin/python", "--version"),
    }
    packages = said(programs.PYTHON / "bin/pip", "list", "--format=freeze", "--disable-pip-version-check") or ""
    found |= dict(line.split("==", 1) for line in packages.lower().splitlines() if "==" in line)
    return {name: version for name, version in found.items() if version and name not in ("pip", "setuptools")}


def locked(crate):
    lock = (programs.ROOT / "Cargo.lock").read_text(encoding="utf-8")
    return ", ".join(re.findall(rf'^name = "{crate}"\nversion = "(.+)"$', lock, re.MULTILINE))


def said(*command):
    """The first words of a program that may not be there or may not say anything on success."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
