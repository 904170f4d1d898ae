"""A small web app: a PEP 3333 callable, `application`, for any WSGI server."""

import re

BLOCK = 64 * 1024
LONGEST_STREAM = 2**40
PATTERN = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"

INDEX = b"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>A web app in Python</title>
</head>
<body>
<h1>A web app in Python</h1>
<ul>
<li><a href="hello/world">GET /hello/NAME</a></li>
<li><a href="environ">GET /environ</a></li>
<li><a href="stream/1000000">GET /stream/N</a></li>
<li><a href="fail">GET /fail</a></li>
</ul>
<form method="post" enctype="text/plain">
<input name="text" value="hello" aria-label="Text to send">
<button formaction="echo">POST /echo</button>
<button formaction="count">POST /count</button>
</form>
</body>
</html>
"""


def application(environ, start_response):
    for pattern, methods, view in ROUTES:
        match = re.fullmatch(pattern, environ.get("PATH_INFO", ""))
        if match is None:
            continue
        if environ["REQUEST_METHOD"] not in methods:
            allow = ("Allow", ", ".join(methods))
            start_response("405 Method Not Allowed", [("Content-Type", TEXT), allow])
            return [b"Method Not Allowed\n"]
        return view(environ, start_response, *match.groups())
    return not_found(start_response)


def not_found(start_response):
    start_response("404 Not Found", [("Content-Type", TEXT)])
    return [b"Not Found\n"]


def index(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [INDEX]


def hello(environ, start_response, name):
    start_response("200 OK", [("Content-Type", TEXT)])
    # WSGI's strings stand for bytes, one character each: Latin-1 gives them back.
    return [b"Hello, ", name.encode("latin-1"), b"!\n"]


def show_environ(environ, start_response):
    start_response("200 OK", [("Content-Type", TEXT)])
    return [
        f"{key}: {value}\n".encode("latin-1")
        for key, value in sorted(environ.items())
        if isinstance(value, str)
    ]


def echo(environ, start_response):
    content_type = environ.get("CONTENT_TYPE") or BINARY
    start_response("200 OK", [("Content-Type", content_type)])
    return blocks(environ["wsgi.input"])


def count(environ, start_response):
    size = sum(len(block) for block in blocks(environ["wsgi.input"]))
    start_response("200 OK", [("Content-Type", TEXT)])
    return [b"%d bytes\n" % size]


def stream(environ, start_response, digits):
    size = int(digits)
    if size > LONGEST_STREAM:
        return not_found(start_response)
    headers = [("Content-Type", BINARY), ("Content-Length", str(size))]
    start_response("200 OK", headers)
    return Pattern(size, environ["wsgi.errors"])


def fail(environ, start_response):
    raise RuntimeError("deliberate failure")


ROUTES = [
    (r"/", ("GET", "HEAD"), index),
    (r"/hello/([^/]+)", ("GET", "HEAD"), hello),
    (r"/environ", ("GET", "HEAD"), show_environ),
    (r"/echo", ("POST",), echo),
    (r"/count", ("POST",), count),
    (r"/stream/([0-9]{1,13})", ("GET", "HEAD"), stream),
    (r"/fail", ("GET", "HEAD"), fail),
]


def blocks(body):
    """The request body, block by block."""
    return iter(lambda: body.read(BLOCK), b"")


class Pattern:
    """`size` bytes of the repeated pattern; says on `errors` how far it got."""

    # Not a generator: closing one that was never started would not run its `finally`.

    def __init__(self, size, errors):
        self.block = PATTERN * (BLOCK // len(PATTERN))
        self.sent = 0
        self.size = size
        self.errors = errors

    def __iter__(self):
        return self

    def __next__(self):
        block = self.block[: self.size - self.sent]
        if not block:
            raise StopIteration
        self.sent += len(block)
        return block

    def close(self):
        self.errors.write(f"stream closed after {self.sent} of {self.size} bytes\n")
