"""HTTP basic authentication (RFC 7617): a PEP 3333 middleware, for any WSGI server.

The users are NAME:PASSWORD in the environment variable BASIC_AUTH_USERS, separated by spaces, or the lines of the file
that BASIC_AUTH_FILE names, a password file as nginx reads it: the password itself, {PLAIN}, {SHA} or {SSHA}.
The app inside is told who it is, in REMOTE_USER, and not the password.
"""

import base64
import binascii
import hashlib
import hmac
import os


def create_app(app):
    def authenticated(environ, start_response):
        user = _user(environ.pop("HTTP_AUTHORIZATION", ""))
        if user is None:
            realm = os.environ.get("BASIC_AUTH_REALM", "Restricted")
            headers = [
                ("Content-Type", "text/plain; charset=utf-8"),
                ("WWW-Authenticate", f'Basic realm="{realm}", charset="UTF-8"'),
            ]
            start_response("401 Unauthorized", headers)
            return [b"Unauthorized\n"]
        environ["AUTH_TYPE"] = "Basic"
        # A native string: each character stands for a byte.
        environ["REMOTE_USER"] = user.decode("latin-1")
        return app(environ, start_response)

    return authenticated


def _user(authorization):
    """The name, if the password is right."""
    users = _users()
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    # An unknown name takes as long as a known one.
    known = users.get(name, b"{PLAIN}")
    return name if _matches(password, known) and colon and name in users else None


def _users():
    """Read when they are needed: a middleware in a sandbox is made when it is built, and has no environment then."""
    lines = os.environ.get("BASIC_AUTH_USERS", "").encode().split()
    path = os.environ.get("BASIC_AUTH_FILE")
    if path:
        with open(path, "rb") as file:
            lines += [line.strip() for line in file if not line.startswith(b"#")]
    users = dict(line.split(b":")[:2] for line in lines if b":" in line)
    if not users:
        raise RuntimeError("basic authentication without users: BASIC_AUTH_USERS or BASIC_AUTH_FILE names them")
    return users


def _matches(password, known):
    scheme, brace, rest = known.partition(b"}")
    if not brace or not scheme.startswith(b"{"):
        scheme, rest = b"{PLAIN", known
    if scheme == b"{PLAIN":
        expected, salt, digest = rest, b"", bytes
    elif scheme in (b"{SHA", b"{SSHA"):
        decoded = base64.b64decode(rest)
        expected, salt = decoded[:20], decoded[20:]
        digest = _sha1
    else:
        raise RuntimeError(f"a password in a scheme that is not known here: {scheme.decode('latin-1')}}}")
    return hmac.compare_digest(digest(password + salt), expected)


def _sha1(data):
    return hashlib.sha1(data).digest()
