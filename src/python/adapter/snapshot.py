"""Build time: finds the app, imports it, and leaves the interpreter in a state that can be frozen.

`build.json`, beside the package, says what to import and how the file system is laid out; `report.json`, written
beside it, says what came of it. All paths are the guest's.
"""

import functools
import importlib
import json
import logging
import os
import shutil
import sqlite3
import sys

from . import _kdf, database, find, hot, immortal, kdf, rehearsal, scratch, thaw, warm
from .response import describe

_BESIDE = os.path.dirname(os.path.dirname(__file__))
_STDLIB = "/python"
# Of the standard library, what needs a screen, a compiler or the network to be of use.
_NOT_NEEDED = ("__pycache__", "ensurepip", "idlelib", "tkinter", "turtledemo", "config-3.*", "venv", "_pyrepl", "test")
# The interpreter's own, set by componentize-py.
_NOT_THE_APPS = ("PYTHONHOME", "PYTHONPATH", "PYTHONUNBUFFERED")


def take(inner):
    """The app, imported; where there is an app inside, it is a middleware, made around that one. Raises SystemExit, with the reason in the report, if it cannot be."""
    build = _order()
    sys.dont_write_bytecode = True
    for name in _NOT_THE_APPS:
        os.environ.pop(name, None)
    os.environ.update(build["env"])
    sys.path[:] = build["sys_path"]
    os.chdir(build["home"])
    kdf.provide(_kdf)
    database.provide(sqlite3)
    scratch.provide()
    warm.before()
    end_watch = thaw.watch_generators()
    try:
        if inner is None:
            app = find.app(build["module"], build["object"])
        else:
            app = find.middleware(build["module"], build["object"], inner)
    except find.NotFound as error:
        _report({"not_found": str(error)})
        raise SystemExit(1) from None
    except BaseException as error:
        extension = find.missing_extension(error)
        _report({"traceback": describe(error), "extension": extension})
        raise SystemExit(1) from None
    finally:
        end_watch()
    warm.after(app)
    shutil.copytree(
        _STDLIB, os.path.join(_BESIDE, "stdlib"), ignore=shutil.ignore_patterns(*_NOT_NEEDED), copy_function=shutil.copyfile
    )
    return app


def seal(app, call):
    """The last thing before the snapshot. `call` is how an instance calls an app; see `rehearsal`."""
    rehearse = functools.partial(rehearsal.of, app, _order()["warm_up"], call)
    try:
        functions = hot.functions()
        codes = hot.executed(lambda: rehearse(times=1))
        # What comes next is not put into holes all over the heap.
        immortal.gather()
        hot.together(functions, codes)
        del functions, codes
        immortal.make()
        rehearse()
        # It holds on to names that nobody else does.
        sys._clear_type_cache()
        rehearse(times=2)
    except rehearsal.Failed as error:
        _report({"warm_up": error.target, "failed": str(error)})
        raise SystemExit(1) from None
    _settle()
    _report({"modules": _modules()})
    thaw.remember_environment()
    thaw.again()
    importlib.invalidate_caches()
    immortal.seal()


def _order():
    with open(os.path.join(_BESIDE, "build.json"), encoding="utf-8") as file:
        return json.load(file)


def _settle():
    """Lets go of what would not outlive the snapshot: open files."""
    for reference in logging._handlerList:
        handler = reference()
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            # It opens the file again with the next line it has to write.
            handler.stream.close()
            handler.stream = None
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _modules():
    """Each imported module that came from a file, by name."""
    modules = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        origin = getattr(spec, "origin", None)
        if origin and origin.startswith("/"):
            modules[name] = origin
        elif spec is not None and spec.submodule_search_locations:
            modules[name] = list(spec.submodule_search_locations)[0]
    return modules


def _report(what):
    with open(os.path.join(_BESIDE, "report.json"), "w", encoding="utf-8") as file:
        json.dump(what, file)
