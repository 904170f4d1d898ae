"""Reads its settings from the environment while it is imported, as many apps do."""

import os

NAME = os.environ["APP_NAME"]


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{NAME} {os.environ.get('APP_NAME')} {os.environ.get('SERVED')}".encode()]
