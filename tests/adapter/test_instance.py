"""What a snapshot freezes and an instance must make anew; how apps are found; the key derivation functions."""

import hashlib
import importlib
import os
import random
import subprocess
import sys
import tempfile
import textwrap
import types
import unittest
import uuid
from unittest import mock

from fixtures import SOURCE, Served, load_guest


class Thaw(unittest.TestCase):
    def setUp(self):
        load_guest(None)
        from adapter import thaw

        self.thaw = thaw

    def test_instances_differ_in_their_random_numbers(self):
        frozen = random.getstate()
        numbers = []
        for _ in range(2):
            self.thaw.again()
            random.setstate(frozen)
            self.thaw.once()
            numbers.append(random.random())
        self.assertNotEqual(*numbers)

    def test_generators_of_the_apps_own(self):
        end = self.thaw.watch_generators()
        try:
            by_chance, on_purpose = random.Random(), random.Random(42)
        finally:
            end()
        state = by_chance.getstate()
        self.thaw.once()
        self.assertNotEqual(by_chance.getstate(), state)
        self.assertEqual(on_purpose.random(), random.Random(42).random())

    def test_the_environment_is_that_of_run_time_over_that_of_the_build(self):
        with mock.patch.dict(os.environ, {"BUILD": "kept", "BOTH": "build"}, clear=True):
            self.thaw.remember_environment()
        with mock.patch.dict(os.environ, {"BOTH": "serve", "NEW": "x"}, clear=True):
            self.thaw.once()
            self.assertEqual(dict(os.environ), {"BUILD": "kept", "BOTH": "serve", "NEW": "x"})
            # Only once: what the app changes later stays changed.
            del os.environ["BUILD"]
            self.thaw.once()
            self.assertNotIn("BUILD", os.environ)

    def test_names_that_would_repeat(self):
        tempfile.tempdir = "/frozen"
        uuid._node = 1
        self.thaw.once()
        self.assertIsNone(tempfile.tempdir)
        self.assertIsNone(uuid._node)


class Database(unittest.TestCase):
    def setUp(self):
        load_guest(None)
        from adapter import database

        self.opened = []
        self.sqlite = types.SimpleNamespace(dbapi2=types.SimpleNamespace(connect=self.connect))
        database.provide(self.sqlite)
        self.database = database
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "my app.db")
        with open(self.path, "w"):
            pass

    def connect(self, database, *arguments, **options):
        """connect() of sqlite3."""
        self.opened.append((database, options))

    def test_connections_are_passed_on_as_they_are(self):
        for name in (self.path, ":memory:", "", "file:x?mode=ro", os.fsencode(self.path), self.path + ".none"):
            self.sqlite.connect(name, timeout=3)
            self.assertEqual(self.opened.pop(), (name, {"timeout": 3}))
        self.sqlite.dbapi2.connect("file:x?mode=ro", uri=True)
        self.assertEqual(self.opened.pop(), ("file:x?mode=ro", {"uri": True}))

    def test_a_lock_that_was_left_behind_is_broken(self):
        lock = self.path + ".lock"
        os.mkdir(lock)
        self.sqlite.connect(self.path)
        self.assertTrue(os.path.isdir(lock))
        os.utime(lock, (0, 0))
        self.sqlite.connect(self.path)
        self.assertFalse(os.path.isdir(lock))

    def test_where_nothing_can_be_written_nothing_is_locked(self):
        with mock.patch.object(self.database.os, "rmdir", side_effect=PermissionError(1, "not permitted")):
            self.sqlite.connect(self.path)
        name = self.path.replace(" ", "%20")
        self.assertEqual(self.opened.pop(), (f"file:{name}?mode=ro&vfs=unix-none", {"uri": True}))


class Scratch(unittest.TestCase):
    def setUp(self):
        load_guest(None)
        from adapter import scratch

        self.on_disk = mock.Mock(__doc__="documented")
        for name in ("TemporaryFile", "NamedTemporaryFile"):
            patch = mock.patch.object(tempfile, name, self.on_disk)
            patch.start()
            self.addCleanup(patch.stop)
        self.directory = mock.Mock(__doc__="documented")
        patch = mock.patch.object(tempfile, "_get_default_tempdir", self.directory)
        patch.start()
        self.addCleanup(patch.stop)
        scratch.provide()

    def test_on_disk_where_there_is_a_directory(self):
        self.assertIs(tempfile.TemporaryFile("w+b"), self.on_disk.return_value)

    def test_in_memory_where_there_is_none(self):
        self.on_disk.side_effect = FileNotFoundError("No usable temporary directory")
        with tempfile.SpooledTemporaryFile(max_size=2) as file:
            file.write(b"0123")
            file.seek(1)
            self.assertEqual(file.read(), b"123")
        with tempfile.NamedTemporaryFile() as file:
            self.assertIsInstance(file.name, str)
        with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
            file.write("é")
            file.seek(0)
            self.assertEqual(file.read(), "é")

    def test_the_directory_has_a_name_even_where_there_is_none(self):
        for found, expected in (("/data", "/data"), (FileNotFoundError("No usable temporary directory"), "/tmp")):
            self.directory.side_effect = [found]
            with mock.patch.object(tempfile, "tempdir", None):
                self.assertEqual(tempfile.gettempdir(), expected)

    def test_but_not_where_a_directory_was_asked_for(self):
        self.on_disk.side_effect = FileNotFoundError("no such directory")
        with self.assertRaises(FileNotFoundError):
            tempfile.TemporaryFile(dir="/nowhere")


class Output(unittest.TestCase):
    def test_what_was_printed_is_out_when_the_call_returns(self):
        flushed = []
        stream = types.SimpleNamespace(flush=lambda: flushed.append(1), write=len)

        def app(environ, start_response):
            start_response("200 OK", [])
            print("hello")
            return [b""]

        with mock.patch.object(sys, "stdout", stream):
            Served(app)
        self.assertTrue(flushed)


class Memory(unittest.TestCase):
    """Each block is lent to the runtime, and taken back before the instance does anything else."""

    def calls(self, *blocks, **options):
        def app(environ, start_response):
            start_response("200 OK", [])
            return list(blocks)

        return Served(app, **options).guest._blocks.calls

    def test_a_whole_body(self):
        self.assertEqual(self.calls(b"one"), ["reclaim", b"one"])
        self.assertEqual(self.calls(), ["reclaim", b""])

    def test_an_iterable(self):
        taken = ["reclaim", "reclaim", b"one", "reclaim", b"two"]
        self.assertEqual(self.calls(b"one", b"", b"two"), [*taken, "reclaim", "reclaim"])
        # The client goes away after the second block.
        self.assertEqual(self.calls(b"one", b"two", b"three", steps=2), [*taken, "reclaim"])


class Find(unittest.TestCase):
    def setUp(self):
        load_guest(None)
        from adapter import find

        self.find = find
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        path = mock.patch.object(sys, "path", [self.folder.name, *sys.path])
        path.start()
        self.addCleanup(path.stop)
        self.write(
            "sample.py",
            """
            import types
            def app(environ, start_response): pass
            def create_app(name="default", *, debug=False):
                def made(environ, start_response): return name, debug
                return made
            class Holder:
                inner = staticmethod(app)
                def make(self): return app
            holder = Holder()
            number = 7
            def broken(): raise RuntimeError("inside")
            async def asgi(scope, receive, send): pass
            class Asgi:
                async def __call__(self, scope, receive, send): pass
            api = Asgi()
            """,
        )
        self.addCleanup(lambda: sys.modules.pop("sample", None))

    def write(self, name, text):
        with open(os.path.join(self.folder.name, name), "w") as file:
            file.write(textwrap.dedent(text))

    def test_as_gunicorn_names_it(self):
        app = self.find.app("sample", "app")
        self.assertIs(self.find.app("sample", "holder.inner"), app)
        self.assertIs(self.find.app("sample", "holder.make()"), app)
        self.assertEqual(self.find.app("sample", "create_app()")({}, None), ("default", False))
        self.assertEqual(self.find.app("sample", "create_app('x', debug=True)")({}, None), ("x", True))

    def test_what_is_not_there(self):
        for module, expression, hint in (
            ("nothing", "app", "no module 'nothing'"),
            ("sample.deeper", "app", "sample.deeper"),
            ("sample", "nothing", "what it has: app, create_app"),
            ("sample", "holder.nothing", "sample.holder has no attribute 'nothing'"),
            ("sample", "number", "not callable but int"),
            ("sample", "number()", "not callable"),
            ("sample", "create_app(x)", "not literals"),
            ("sample", "create_app(**{'a': 1})", "not literals"),
            ("sample", "app[0]", "neither an attribute"),
            ("sample", "lambda: 0", "neither an attribute"),
            ("sample", "a b", "neither an attribute"),
            ("sample", "asgi", "ASGI"),
            ("sample", "api", "ASGI"),
        ):
            with self.assertRaises(self.find.NotFound) as caught:
                self.find.app(module, expression)
            self.assertIn(hint, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_what_the_app_raises_goes_through(self):
        with self.assertRaisesRegex(RuntimeError, "inside"):
            self.find.app("sample", "broken()")
        self.write("needy.py", "import not_installed_anywhere")
        with self.assertRaises(ModuleNotFoundError):
            self.find.app("needy", "app")

    def test_a_compiled_extension_is_named(self):
        os.mkdir(os.path.join(self.folder.name, "fast"))
        self.write("fast/_speed.cpython-399-x86_64-linux-gnu.so", "")
        self.write("uses.py", "\nimport fast")
        statements = ["from fast._speed import x", "import fast._speed"]
        if sys.version_info >= (3, 12):
            # Before, the error does not say which name it was that could not be imported.
            statements.append("from . import _speed")
        for statement in statements:
            self.write("fast/__init__.py", "# a package\n" + statement)
            importlib.invalidate_caches()
            found = None
            try:
                self.find.app("uses", "app")
            except ImportError as error:
                found = self.find.missing_extension(error)
            self.assertEqual(found["name"], "fast._speed")
            self.assertEqual(os.path.basename(found["file"]), "_speed.cpython-399-x86_64-linux-gnu.so")
            self.assertEqual(found["importer"], os.path.join(self.folder.name, "fast/__init__.py") + ":2")
        try:
            import not_installed_anywhere
        except ImportError as error:
            self.assertIsNone(self.find.missing_extension(error))


@unittest.skipUnless(hasattr(hashlib, "scrypt"), "this Python has nothing to compare with")
class KeyDerivation(unittest.TestCase):
    """Against OpenSSL. The compiled loops are imitated, in a Python of its own because they replace OpenSSL's."""

    def test_the_same_as_openssl(self):
        script = """
        import hashlib, hmac, struct, sys
        sys.path.insert(0, sys.argv[1])
        theirs = hashlib.pbkdf2_hmac, hashlib.scrypt
        del hashlib.pbkdf2_hmac, hashlib.scrypt
        from adapter import kdf

        class Loops:
            @staticmethod
            def pbkdf2(key, first, rounds):
                total, last = int.from_bytes(first, "big"), first
                for _ in range(rounds):
                    last = hmac.digest(key, last, "sha256")
                    total ^= int.from_bytes(last, "big")
                return total.to_bytes(32, "big")

            @staticmethod
            def romix(block, n):
                def rotate(x, k):
                    return (x << k | x >> 32 - k) & 0xFFFFFFFF
                def salsa(words):
                    x = list(words)
                    def quarter(a, b, c, d):
                        x[b] ^= rotate(x[a] + x[d] & 0xFFFFFFFF, 7)
                        x[c] ^= rotate(x[b] + x[a] & 0xFFFFFFFF, 9)
                        x[d] ^= rotate(x[c] + x[b] & 0xFFFFFFFF, 13)
                        x[a] ^= rotate(x[d] + x[c] & 0xFFFFFFFF, 18)
                    for _ in range(4):
                        for q in ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
                                  (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)):
                            quarter(*q)
                    return [a + b & 0xFFFFFFFF for a, b in zip(x, words)]
                def mix(words):
                    last, even, odd = words[-16:], [], []
                    for i in range(0, len(words), 16):
                        last = salsa([a ^ b for a, b in zip(last, words[i:i + 16])])
                        (odd if i // 16 % 2 else even).extend(last)
                    return even + odd
                form = "<%dI" % (len(block) // 4)
                x, kept = list(struct.unpack(form, block)), []
                for _ in range(n):
                    kept.append(x)
                    x = mix(x)
                for _ in range(n):
                    x = mix([a ^ b for a, b in zip(x, kept[x[-16] % n])])
                return struct.pack(form, *x)

        kdf.provide(Loops)
        for name, password, salt, rounds, length in (
            ("sha256", b"password", b"salt", 1, None), ("sha256", b"p" * 70, bytearray(b"s"), 5, 100),
            ("sha256", b"", b"", 2, 7), ("sha1", b"password", b"salt", 3, 25), ("sha512", memoryview(b"x"), b"y", 2, 70),
            ("SHA256", b"p", b"s", 4, None),
        ):
            assert hashlib.pbkdf2_hmac(name, password, salt, rounds, length) == theirs[0](name, password, salt, rounds, length)
        for options in (dict(n=2, r=1, p=1), dict(n=16, r=1, p=1), dict(n=64, r=8, p=2, dklen=33), dict(n=4, r=3, p=3)):
            assert hashlib.scrypt(b"pw", salt=b"NaCl", **options) == theirs[1](b"pw", salt=b"NaCl", **options)
        for wrong in (dict(n=0, r=1, p=1), dict(n=3, r=1, p=1), dict(n=1, r=1, p=1), dict(n=2**15, r=8, p=1),
                      dict(n=2, r=0, p=1), dict(n=2, r=1, p=0), dict(n=2, r=1, p=1, dklen=0)):
            for scrypt in (hashlib.scrypt, theirs[1]):
                try:
                    scrypt(b"pw", salt=b"NaCl", **wrong)
                except ValueError:
                    pass
                else:
                    raise AssertionError((scrypt, wrong))
        for wrong in (("sha256", b"p", b"s", 0), ("none", b"p", b"s", 1), ("sha256", b"p", b"s", 1, 0)):
            try:
                hashlib.pbkdf2_hmac(*wrong)
            except ValueError:
                pass
            else:
                raise AssertionError(wrong)
        print("same")
        """
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), str(SOURCE)], capture_output=True, text=True, timeout=120
        )
        self.assertEqual((result.stdout, result.stderr), ("same\n", ""))


if __name__ == "__main__":
    unittest.main()
