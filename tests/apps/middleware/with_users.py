"""The basic authentication of guest-apps, with the users of the tests."""

import os

os.environ.setdefault("BASIC_AUTH_USERS", "ada:secret bob:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M= eve:{SSHA}7lXA+n+dfn5pzJBPhAEBLhyGIllzYWx0")

from auth import create_app  # noqa: E402, F401
