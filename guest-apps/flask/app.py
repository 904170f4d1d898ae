"""A small web app in Flask."""

from flask import Flask, Response, render_template, request

BLOCK = 64 * 1024
LONGEST_STREAM = 2**40
PATTERN = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"

app = Flask(__name__)
app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False


def text(body, status=200, headers=None):
    return Response(body, status, headers, content_type="text/plain; charset=utf-8")


@app.get("/")
def index():
    return render_template("index.html")


@app.get("/hello/<name>")
def hello(name):
    return text(f"Hello, {name}!\n")


@app.get("/environ")
def environ():
    # WSGI's strings stand for bytes, one character each: Latin-1 gives them back.
    return text(
        f"{key}: {value}\n".encode("latin-1")
        for key, value in sorted(request.environ.items())
        if isinstance(value, str)
    )


@app.post("/echo")
def echo():
    content_type = request.content_type or "application/octet-stream"
    return Response(blocks(request.stream), content_type=content_type)


@app.post("/count")
def count():
    return text(f"{sum(len(block) for block in blocks(request.stream))} bytes\n")


@app.get(f"/stream/<int(max={LONGEST_STREAM}):size>")
def stream(size):
    pattern = Pattern(size)
    response = Response(pattern, content_type="application/octet-stream")
    response.content_length = size
    errors = request.environ["wsgi.errors"]
    response.call_on_close(
        lambda: errors.write(f"stream closed after {pattern.sent} of {size} bytes\n")
    )
    return response


@app.get("/fail")
def fail():
    raise RuntimeError("deliberate failure")


@app.errorhandler(404)
def not_found(error):
    return text("Not Found\n", 404)


@app.errorhandler(405)
def method_not_allowed(error):
    allow = ", ".join(sorted(error.valid_methods))
    return text("Method Not Allowed\n", 405, {"Allow": allow})


def blocks(body):
    """The request body, block by block."""
    return iter(lambda: body.read(BLOCK), b"")


class Pattern:
    """`size` bytes of the repeated pattern, of which `sent` were asked for so far."""

    def __init__(self, size):
        self.size = size
        self.sent = 0

    def __iter__(self):
        block = PATTERN * (BLOCK // len(PATTERN))
        while self.sent < self.size:
            part = block[: self.size - self.sent]
            self.sent += len(part)
            yield part
