from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls.converters import IntConverter
from django.views.decorators.http import require_POST, require_safe

from .models import Visit

BLOCK = 64 * 1024
PATTERN = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"


@require_safe
def index(request):
    Visit.objects.create()
    return render(request, "index.html", {"visits": Visit.objects.count()})


@require_safe
def hello(request, name):
    return HttpResponse(f"Hello, {name}!\n", content_type=TEXT)


@require_safe
def environ(request):
    # WSGI's strings stand for bytes, one character each: Latin-1 gives them back.
    lines = (
        f"{key}: {value}\n".encode("latin-1")
        for key, value in sorted(request.environ.items())
        if isinstance(value, str)
    )
    return HttpResponse(lines, content_type=TEXT)


@require_POST
def echo(request):
    content_type = request.META.get("CONTENT_TYPE") or BINARY
    return StreamingHttpResponse(blocks(request), content_type=content_type)


@require_POST
def count(request):
    size = sum(len(block) for block in blocks(request))
    return HttpResponse(f"{size} bytes\n", content_type=TEXT)


@require_safe
def stream(request, size):
    pattern = Pattern(size, request.META["wsgi.errors"])
    headers = {"Content-Length": size}
    return StreamingHttpResponse(pattern, content_type=BINARY, headers=headers)


@require_safe
def fail(request):
    raise RuntimeError("deliberate failure")


def not_found(request, exception):
    return HttpResponse("Not Found\n", status=404, content_type=TEXT)


def plain_method_not_allowed(get_response):
    """Middleware: Django's own 405 has no body."""

    def middleware(request):
        response = get_response(request)
        if response.status_code == 405:
            response.content = "Method Not Allowed\n"
            response.headers["Content-Type"] = TEXT
        return response

    return middleware


def blocks(request):
    """The request body, block by block."""
    # A chunked body has no Content-Length, and Django takes that for an empty one. Where the
    # server says that its own stream ends by itself, no length is needed.
    terminated = request.META.get("wsgi.input_terminated")
    body = request.META["wsgi.input"] if terminated else request
    return iter(lambda: body.read(BLOCK), b"")


class StreamSize(IntConverter):
    # As many digits as 2**40 has.
    regex = "[0-9]{1,13}"

    def to_python(self, value):
        size = super().to_python(value)
        if size > 2**40:
            raise ValueError("too long a stream")
        return size


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
