"""The hello that all contestants say, in plain Python: any server of PEP 3333 runs it."""


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "12")])
    return [b"hello world\n"]
