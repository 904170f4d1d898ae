"""An app that reads, logs and answers, under the eyes of the standard library's validator."""

from wsgiref.validate import validator


@validator
def application(environ, start_response):
    body = environ["wsgi.input"].read(10)
    for line in iter(lambda: environ["wsgi.input"].readline(100), b""):
        body += line
    environ["wsgi.errors"].write("read %d bytes\n" % len(body))
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
    return [body]
