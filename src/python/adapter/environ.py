"""The environ of PEP 3333: a plain dict, made from the pairs of strings that the host passes."""

from .streams import FileWrapper

_TRUTH = {"true": True, "false": False}
BOOLEANS = ("wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once")


def wsgi_environ(pairs, body, errors):
    environ = dict(pairs)
    for name in BOOLEANS:
        environ[name] = _TRUTH.get(environ.get(name), False)
    environ["wsgi.version"] = (1, 0)
    environ["wsgi.input"] = body
    environ["wsgi.input_terminated"] = True
    environ["wsgi.errors"] = errors
    environ["wsgi.file_wrapper"] = FileWrapper
    return environ
