"""Run by the person's own Python: where it looks for modules. Reads JSON from standard input, writes JSON."""

import importlib.util
import json
import os
import sys
import sysconfig


def main():
    question = json.load(sys.stdin)
    standard = {os.path.realpath(path) for path in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))}
    places = []
    for place in sys.path[1:] if sys.path[:1] == [""] else sys.path:
        real = os.path.realpath(place)
        if os.path.isdir(real) and real not in standard and os.path.dirname(real) not in standard:
            places.append(real)
        elif os.path.isdir(real) and os.path.basename(real) in ("site-packages", "dist-packages"):
            places.append(real)
    places += editable()
    sys.path[:0] = question["app_roots"]
    json.dump(
        {
            "version": "%d.%d" % sys.version_info[:2],
            "executable": sys.executable,
            "places": list(dict.fromkeys(places)),
            "found": found(question["module"]),
        },
        sys.stdout,
    )


def editable():
    """Packages that setuptools installed in editable mode are found by import hooks, not on sys.path."""
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable___"):
            for package, path in getattr(module, "MAPPING", {}).items():
                parent, last = os.path.split(os.path.realpath(path))
                if last in (package.rpartition(".")[2], package.rpartition(".")[2] + ".py"):
                    for _ in range(package.count(".")):
                        parent = os.path.dirname(parent)
                    yield parent


def found(module):
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


main()
