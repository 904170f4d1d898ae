"""From gunicorn's app spec to the app: `module:attribute`, `module:attribute.sub`, `module:factory("literal")`.

A middleware is named like a factory, and called with the app inside before the literals.
"""

import ast
import importlib.machinery
import inspect
import os
import sys


class NotFound(Exception):
    """The spec names nothing that could be called. The text is one line."""


def app(module, expression):
    """Imports the module and evaluates the expression in it. What the app itself raises goes through."""
    target, call = _named(module, expression)
    if call is not None:
        target = _call(module, expression, target, call)
    return _checked(module, expression, target)


def middleware(module, expression, inner):
    """The same of a middleware around the app `inner`."""
    target, call = _named(module, expression)
    positional, named = call or ((), {})
    target = _call(module, expression, target, ((inner, *positional), named))
    return _checked(module, expression, target)


def _named(module, expression):
    """What the dotted name stands for, and the arguments if it is a call."""
    target = _import(module)
    names, call = _parse(expression)
    for place, name in enumerate(names):
        try:
            target = getattr(target, name)
        except AttributeError:
            where = ".".join([module, *names[:place]])
            raise NotFound(f"{where} has no attribute {name!r}{_candidates(target)}") from None
    return target, call


def _call(module, expression, target, call):
    if not callable(target):
        raise NotFound(f"{module}:{expression} calls what is not callable: {type(target).__name__}")
    return target(*call[0], **call[1])


def _checked(module, expression, target):
    if not callable(target):
        raise NotFound(f"{module}:{expression} is not callable but {type(target).__name__}{_candidates(sys.modules[module])}")
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(getattr(target, "__call__", None)):
        raise NotFound(f"{module}:{expression} is an ASGI app; this is a WSGI server")
    return target


def _import(module):
    try:
        # Not importlib.import_module: its frames would be in the traceback of an app that fails.
        __import__(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            raise NotFound(f"there is no module {error.name!r}") from None
        raise
    return sys.modules[module]


def _parse(expression):
    """The dotted name, and the arguments if it is a call."""
    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise NotFound(f"{expression!r} is neither an attribute nor a call of one") from None
    call = None
    if isinstance(node, ast.Call):
        try:
            call = (
                [ast.literal_eval(argument) for argument in node.args],
                {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords},
            )
        except ValueError:
            raise NotFound(f"the arguments in {expression!r} are not literals") from None
        if None in call[1]:
            raise NotFound(f"the arguments in {expression!r} are not literals")
        node = node.func
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise NotFound(f"{expression!r} is neither an attribute nor a call of one")
    names.append(node.id)
    return names[::-1], call


def _candidates(target):
    """What the author may have meant: what the module itself defines and can be called."""
    if not inspect.ismodule(target):
        return ""
    found = [
        name
        for name, value in vars(target).items()
        if not name.startswith("_")
        and callable(value)
        and not (inspect.isclass(value) or inspect.isbuiltin(value))
        and (not inspect.isfunction(value) or value.__module__ == target.__name__)
    ]
    return f" (what it has: {', '.join(found[:8])})" if found else ""


def missing_extension(error):
    """If the import failed for want of a compiled extension: its name, its file, and where it was imported.

    None if it failed for another reason. An extension for this interpreter would have another suffix, so each
    shared library that is found under the name is one that cannot run here.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ImportError) and error.name:
            for name in (error.name, f"{error.name}.{getattr(error, 'name_from', None)}"):
                file = _library(name)
                if file:
                    return {"name": name, "file": file, "importer": _importer(error)}
        error = error.__cause__ or error.__context__
    return None


def _library(name):
    parent, _, last = name.rpartition(".")
    package = sys.modules.get(parent)
    folders = list(getattr(package, "__path__", ())) if parent else sys.path
    if parent and not folders:
        # The package is gone again because its own import failed.
        folders = [os.path.join(folder, *parent.split(".")) for folder in sys.path]
    for folder in folders:
        try:
            entries = os.listdir(folder)
        except OSError:
            continue
        for entry in entries:
            stem, _, suffix = entry.partition(".")
            if stem == last and suffix.endswith(("so", "pyd", "dylib")):
                return os.path.join(folder, entry)
    return None


def _importer(error):
    """The innermost line that is no part of the import system: `file:line`."""
    found = None
    tb = error.__traceback__
    while tb is not None:
        name = tb.tb_frame.f_code.co_filename
        if not name.startswith("<frozen") and os.path.dirname(name) != os.path.dirname(__file__):
            found = f"{name}:{tb.tb_lineno}"
        tb = tb.tb_next
    return found
