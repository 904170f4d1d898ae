"""What an app may want of the file system and of the library, and only while it handles a request."""

import json
import pathlib

HERE = pathlib.Path(__file__).parent


def module():
    import colorsys

    return colorsys.rgb_to_hsv(1, 0, 0)[2]


def own_module():
    from parts import greeting

    return greeting.TEXT


def own_data():
    return [(HERE / "data" / "words.txt").read_text(), open("data/words.txt").read()]


def package_data():
    from importlib.resources import files

    return files("parts").joinpath("note.txt").read_text()


def codec():
    return [b"\xe9".decode("cp1252"), "bücher.example".encode("idna").decode(), "x".encode("utf-16-be").hex()]


def zone():
    import datetime
    import zoneinfo

    moment = datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.timezone.utc)
    return moment.astimezone(zoneinfo.ZoneInfo("Europe/Berlin")).isoformat()


def distribution():
    from importlib.metadata import version

    return version("flask")


def template():
    from jinja2 import Environment, FileSystemLoader

    return Environment(loader=FileSystemLoader(HERE / "data")).get_template("page.html").render(name="<x>")


def derived_keys():
    import hashlib

    # RFC 7914, 11 and 12.
    return [
        hashlib.pbkdf2_hmac("sha256", b"passwd", b"salt", 1, 64).hex()[:16],
        hashlib.pbkdf2_hmac("sha256", b"Password", b"NaCl", 80000, 64).hex()[:16],
        hashlib.scrypt(b"", salt=b"", n=16, r=1, p=1, dklen=64).hex()[:16],
        hashlib.scrypt(b"password", salt=b"NaCl", n=1024, r=8, p=16, dklen=64).hex()[:16],
        hashlib.scrypt(b"pleaseletmein", salt=b"SodiumChloride", n=16384, r=8, p=1, dklen=64).hex()[:16],
    ]


def temporary():
    import tempfile

    with tempfile.SpooledTemporaryFile(max_size=10) as file:
        file.write(b"x" * 100)
        file.seek(0)
        return len(file.read())


def chance():
    import random
    import uuid

    return [random.random(), str(uuid.uuid4()), str(uuid.uuid1())]


def environment():
    import os

    return dict(os.environ)


def secrets():
    """How many of the places have what an earlier request has left there; then leaves it itself."""
    import os
    import sys

    found = [os.environ.get("SECRET"), getattr(sys, "secret", None), globals().get("kept"), read_secret()]
    os.environ["SECRET"] = sys.secret = globals()["kept"] = "secret"
    write_secret()
    return found.count("secret")


def read_secret():
    try:
        return pathlib.Path("secret").read_text()
    except OSError:
        return None


def write_secret():
    try:
        pathlib.Path("secret").write_text("secret")
    except OSError:
        pass


def application(environ, start_response):
    found = globals()[environ["PATH_INFO"].strip("/")]()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(found).encode()]
