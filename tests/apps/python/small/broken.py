"""Fails while it is imported, two calls deep."""


def configure(settings):
    return settings["SECRET_KEY"]


def application(environ, start_response):
    raise AssertionError("never reached")


configure({})
