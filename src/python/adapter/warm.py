"""What is imported at build time so that a fresh instance need not do it in its first, often only, request.

Only imports, and what a framework does once before its first request: nothing here calls the app.
"""

import importlib
import os
import sys

# What the interpreter and the common frameworks import not before the first request that needs it.
_LATE = (
    "_strptime",
    "email.mime.text",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.unicode_escape",
    "encodings.utf_8_sig",
    "html.entities",
    "importlib.metadata",
    "mimetypes",
    "stringprep",
    "zoneinfo",
)

# How many templates are compiled at most.
_TEMPLATES = 400


def before():
    for name in _LATE:
        _try(lambda: importlib.import_module(name))


def after(app):
    if "django.conf" in sys.modules:
        _try(_django)
    if "flask" in sys.modules:
        _try(lambda: _flask(app))


def _flask(app):
    from flask import Flask

    candidates = [app, *(value for module in list(sys.modules.values()) for value in list(vars(module).values()))]
    # By type, because isinstance would ask a proxy for what it stands for.
    for flask in {id(value): value for value in candidates if issubclass(type(value), Flask)}.values():
        flask.url_map.update()
        environment = flask.jinja_env
        for name in environment.list_templates()[:_TEMPLATES]:
            _try(lambda: environment.get_template(name))


def _django():
    from django.apps import apps
    from django.conf import settings
    from django.db import connections
    from django.template import engines
    from django.urls import get_resolver
    from django.utils import formats
    from django.utils.module_loading import import_string
    from django.utils.translation import trans_real

    if not apps.ready:
        return
    _try(lambda: get_resolver()._populate())
    _try(lambda: trans_real.translation(settings.LANGUAGE_CODE))
    _try(lambda: formats.get_format("DATE_FORMAT", settings.LANGUAGE_CODE, use_l10n=True))
    for setting in ("MESSAGE_STORAGE", "SESSION_SERIALIZER", "CSRF_FAILURE_VIEW"):
        _try(lambda: import_string(getattr(settings, setting)))
    for name in ("django.db.models.sql.compiler", "django.contrib.messages.storage.cookie"):
        _try(lambda: importlib.import_module(name))
    if apps.is_installed("django.contrib.staticfiles"):
        _try(lambda: importlib.import_module("django.contrib.staticfiles.storage"))
    if apps.is_installed("django.contrib.admin"):
        _try(lambda: importlib.import_module("django.contrib.admin.forms"))
    if apps.is_installed("django.contrib.auth"):
        _try(lambda: importlib.import_module("django.contrib.auth.hashers").get_hashers())
    for backend in engines.all():
        _try(lambda: _django_templates(backend.engine))
    # URLs and tags may have asked the database: a connection does not outlive the snapshot.
    _try(connections.close_all)


def _django_templates(engine):
    engine.template_context_processors
    names = set()
    for loader in engine.template_loaders:
        for inner in getattr(loader, "loaders", [loader]):
            for folder in getattr(inner, "get_dirs", tuple)():
                names.update(_templates_in(folder))
    for name in sorted(names)[:_TEMPLATES]:
        _try(lambda: engine.get_template(name))


def _templates_in(folder):
    for place, _, files in os.walk(folder):
        for file in files:
            if file.endswith(".html"):
                yield os.path.relpath(os.path.join(place, file), folder)


def _try(step):
    """An error here is one that the app meets again, at the right time, with a traceback of its own."""
    try:
        step()
    except Exception:
        pass
