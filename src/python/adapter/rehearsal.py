"""Requests at build time. The interpreter rewrites a function's code while that runs for the first times, and fills caches;
what has been rehearsed is in the snapshot as it settles, where else every fresh instance would begin with it.

The person's app is called only for the targets that `--warm-up` names. Without any, what is around it is rehearsed with
apps that nobody else sees: the adapter itself, and the framework.
"""

import sys
from urllib.parse import unquote

from . import thaw
from .response import describe

# An instruction has settled, or is left alone for long, after so many.
_TIMES = 24

_VARIABLES = {
    "CONTENT_LENGTH": "",
    "CONTENT_TYPE": "",
    "HTTP_ACCEPT": "*/*",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate",
    "HTTP_ACCEPT_LANGUAGE": "en",
    "HTTP_CONNECTION": "keep-alive",
    "HTTP_HOST": "localhost",
    "HTTP_USER_AGENT": "wsgi-host (warm-up)",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "1024",
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "wsgi-host",
    "wsgi.url_scheme": "http",
    "wsgi.multithread": "false",
    "wsgi.multiprocess": "true",
    "wsgi.run_once": "true",
}


class Failed(Exception):
    """The app did not answer `target`; the text is why."""

    def __init__(self, target, why):
        super().__init__(why)
        self.target = target


def of(app, targets, call, times=_TIMES):
    """`call(app, variables, report)` makes one request, and returns the response's status."""
    for _ in range(times):
        thaw.again()
        call(_plain, _variables("/"), _nobody)
        call(_streaming, _variables("/"), _nobody)
    flask = sys.modules.get("flask")
    if flask is not None:
        try:
            _of_flask(flask, call, times)
        except Exception:
            # A version of its own kind: nothing is lost but the rehearsal.
            pass
    for target in targets:
        _of_target(app, target, call, times)


def _of_target(app, target, call, times):
    said = []
    for _ in range(times):
        try:
            status = call(app, _variables(target), said.append)
        except Exception as error:
            raise Failed(target, describe(error)) from None
        if status >= 500:
            raise Failed(target, "".join(said) or f"the app answered {status}")


def _variables(target):
    path, _, query = target.partition("?")
    path = unquote(path, "latin-1")
    return list({**_VARIABLES, "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_URI": target}.items())


def _nobody(text):
    pass


def _plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]


def _streaming(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    environ["wsgi.input"].read()
    return iter([b"ok\n", b"ok\n"])


def _of_flask(flask, call, times):
    """An app of Flask's that has what most have: a plain page, one from a template, one in JSON, and one that is missing."""
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "ok\n", endpoint="text")
    app.add_url_rule("/response", view_func=lambda: flask.Response("ok\n", content_type="text/plain"), endpoint="response")
    app.add_url_rule("/json/<name>", view_func=lambda name: flask.jsonify(name=name), endpoint="json")
    app.add_url_rule(
        "/page", view_func=lambda: flask.render_template_string("{{ request.path }}", app=app), endpoint="page"
    )
    for _ in range(times):
        for target in ("/", "/response", "/json/name", "/page?a=b", "/missing"):
            call(app, _variables(target), _nobody)
