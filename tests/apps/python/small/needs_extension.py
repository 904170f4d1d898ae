"""Needs a module that is compiled for the machine."""

from fast import speed


def application(environ, start_response):
    start_response("200 OK", [])
    return [speed.body]
