"""Middleware that others have written, as they are meant to be used: one with options, checked from both sides."""

from wsgiref.validate import validator

from werkzeug.middleware.proxy_fix import ProxyFix


def create_app(app, **options):
    return validator(ProxyFix(validator(app), **options))
