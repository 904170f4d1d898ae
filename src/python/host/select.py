"""Run by the person's own Python: which files of the installed packages belong to an app.

They are those of the distributions that the app imported, names in an import statement or declares as a dependency, and
of what these require in turn: whole distributions with their metadata, because what is imported late, and package
data, can be seen nowhere else. Reads JSON from standard input, writes JSON.
"""

import ast
import importlib.metadata
import json
import os
import re
import sys

# What the sandbox cannot run, or would make anew.
USELESS = re.compile(r"(\.so(\.\d+)*|\.pyd|\.dll|\.dylib|\.exe|\.a|\.lib|\.py[co])$")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
# Functions whose first argument names a module, or a distribution.
NAMING = ("import_module", "__import__", "version", "distribution", "metadata", "requires", "files")
# Time zones for zoneinfo, which no app that uses it need name.
ALWAYS = ("tzdata",)


def main():
    question = json.load(sys.stdin)
    shelves = [Shelf(place) for place in question["places"]]
    wanted = Wanted(shelves)
    for shelf, place in zip(shelves, question["places"]):
        if place["whole"]:
            for distribution in shelf.distributions.values():
                wanted.add(distribution)
    for name in ALWAYS:
        wanted.add_named(name)
    for name in declared(question["declarations"]):
        wanted.add_named(name)
    for place, path in question["imported"]:
        wanted.add_module(path.split("/")[0], shelves[place])
    for name in sorted(named_in(question["sources"])):
        wanted.add_module(name)
        wanted.add_named(name)
    wanted.close()
    json.dump({"files": wanted.files(), "distributions": sorted(wanted.names)}, sys.stdout)


class Shelf:
    """A directory of sys.path, with what is installed there."""

    def __init__(self, place):
        self.host = place["host"]
        self.distributions = {}
        self._owners = None
        for distribution in importlib.metadata.distributions(path=[self.host]):
            name = distribution.metadata["Name"]
            if name:
                self.distributions.setdefault(normal(name), distribution)

    def owners(self, top):
        """The distributions that installed something under an import name; a namespace has several."""
        if self._owners is None:
            self._owners = {}
            for name, distribution in self.distributions.items():
                for found in {path.split("/")[0] for path in recorded(distribution)}:
                    found = found[:-3] if found.endswith(".py") else found
                    if not found.endswith((".dist-info", ".egg-info")):
                        self._owners.setdefault(found, []).append(name)
                for found in (distribution.read_text("top_level.txt") or "").split():
                    # What is installed in editable mode records nothing but its name.
                    if name not in self._owners.setdefault(found, []):
                        self._owners[found].append(name)
        return self._owners.get(top, [])

    def has(self, top):
        return os.path.isdir(os.path.join(self.host, top)) or os.path.isfile(os.path.join(self.host, top + ".py"))


class Wanted:
    def __init__(self, shelves):
        self.shelves = shelves
        self.names = set()
        self._distributions = []
        self._loose = set()
        self._done = 0

    def add(self, distribution):
        name = normal(distribution.metadata["Name"])
        if name not in self.names:
            self.names.add(name)
            self._distributions.append(distribution)

    def add_named(self, name):
        for shelf in self.shelves:
            distribution = shelf.distributions.get(normal(name))
            if distribution is not None:
                return self.add(distribution)

    def add_module(self, top, shelf=None):
        """A module by its import name: where it was imported from, or else where it would be."""
        for shelf in [shelf] if shelf else [shelf for shelf in self.shelves if shelf.has(top)][:1]:
            owners = shelf.owners(top)
            for owner in owners:
                self.add(shelf.distributions[owner])
            if not owners or not any(self._is_recorded(shelf, owner, top) for owner in owners):
                self._loose.add((self.shelves.index(shelf), top))

    @staticmethod
    def _is_recorded(shelf, owner, top):
        return any(path.split("/")[0] in (top, top + ".py") for path in recorded(shelf.distributions[owner]))

    def close(self):
        """Adds what the distributions require, and what those require, of what is installed."""
        while self._done < len(self._distributions):
            for requirement in self._distributions[self._done].requires or ():
                if not re.search(r";.*\bextra\s*==", requirement):
                    match = NAME.match(requirement)
                    if match:
                        self.add_named(match.group())
            self._done += 1

    def files(self):
        """For each place: paths below it, `/` between their parts."""
        found = [set() for _ in self.shelves]
        for distribution in self._distributions:
            for number, shelf in enumerate(self.shelves):
                if shelf.distributions.get(normal(distribution.metadata["Name"])) is distribution:
                    found[number].update(path for path in recorded(distribution) if useful(path))
                    found[number].update(metadata_of(distribution, shelf.host))
        for number, top in self._loose:
            found[number].update(tree(self.shelves[number].host, top))
        return [
            sorted(path for path in paths if os.path.isfile(os.path.join(shelf.host, path)))
            for shelf, paths in zip(self.shelves, found)
        ]


def recorded(distribution):
    """The paths of a distribution's files, as its RECORD has them; without those outside the directory."""
    paths = getattr(distribution, "_wsgi_host_paths", None)
    if paths is None:
        paths = [path.as_posix() for path in distribution.files or ()]
        paths = [path for path in paths if not path.startswith(("/", "../"))]
        distribution._wsgi_host_paths = paths
    return paths


def metadata_of(distribution, host):
    folder = getattr(distribution, "_path", None)
    if folder is None:
        return []
    top = os.path.relpath(folder, host).replace(os.sep, "/")
    return tree(host, top) if os.path.isdir(folder) else [top]


def tree(host, top):
    """The files of a package, or the one file of a module."""
    if os.path.isfile(os.path.join(host, top + ".py")):
        yield top + ".py"
    for folder, folders, files in os.walk(os.path.join(host, top), followlinks=False):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            path = os.path.relpath(os.path.join(folder, name), host).replace(os.sep, "/")
            if useful(path):
                yield path


def useful(path):
    return "__pycache__/" not in path and not USELESS.search(path)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(files):
    """The names of the distributions that a project says it depends on."""
    for file in files:
        try:
            with open(file, encoding="utf-8") as opened:
                text = opened.read()
        except (OSError, UnicodeDecodeError):
            continue
        if file.endswith(".toml"):
            requirements = of_pyproject(text)
        else:
            requirements = text.splitlines()
        for requirement in requirements:
            match = NAME.match(requirement.strip())
            if match:
                yield match.group()


def of_pyproject(text):
    try:
        import tomllib
    except ImportError:
        return []
    try:
        project = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return []
    poetry = project.get("tool", {}).get("poetry", {}).get("dependencies", {})
    return [*project.get("project", {}).get("dependencies", []), *poetry]


def named_in(sources):
    """Modules and distributions that the app's own source names: in import statements, wherever they stand, in calls
    that import or look up by name, and in strings that are dotted names."""
    names = set()
    for source in sources:
        try:
            with open(source, "rb") as file:
                nodes = ast.walk(ast.parse(file.read()))
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue
        for node in nodes:
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                if DOTTED.fullmatch(node.value):
                    names.add(node.value.split(".")[0])
            elif isinstance(node, ast.Call) and node.args:
                called = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
                first = node.args[0]
                if called in NAMING and isinstance(first, ast.Constant):
                    names.add(str(first.value).split(".")[0])
    return names


main()
