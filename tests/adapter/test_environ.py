"""PEP 3333, "environ Variables"."""

import io
import unittest
from wsgiref.validate import validator

from fixtures import Body, Served


def see(**options):
    seen = []

    def app(environ, start_response):
        seen.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    served = Served(app, **options)
    assert served.failure is None, served.failure
    return seen[0]


class Environ(unittest.TestCase):
    def test_is_a_plain_mutable_dict_of_native_strings(self):
        environ = see()
        self.assertIs(type(environ), dict)
        environ["x"] = 1
        for name, value in environ.items():
            if name[0].isupper():
                self.assertIs(type(value), str)
        self.assertEqual(environ["PATH_INFO"].encode("latin-1").decode(), "/café")

    def test_wsgi_keys_have_the_types_of_the_pep(self):
        environ = see()
        self.assertEqual(environ["wsgi.version"], (1, 0))
        self.assertEqual(environ["wsgi.url_scheme"], "http")
        self.assertIs(environ["wsgi.multithread"], False)
        self.assertIs(environ["wsgi.multiprocess"], True)
        self.assertIs(environ["wsgi.run_once"], True)
        self.assertIs(environ["wsgi.input_terminated"], True)

    def test_the_host_decides_about_instances(self):
        environ = see(**{"wsgi.multiprocess": "false", "wsgi.run_once": "false"})
        self.assertIs(environ["wsgi.multiprocess"], False)
        self.assertIs(environ["wsgi.run_once"], False)

    def test_a_missing_content_length_stays_missing(self):
        self.assertNotIn("CONTENT_LENGTH", see())
        self.assertEqual(see(CONTENT_LENGTH="3", body=b"abc")["CONTENT_LENGTH"], "3")


class Input(unittest.TestCase):
    def read(self, body, how):
        found = []

        def app(environ, start_response):
            start_response("200 OK", [])
            found.append(how(environ["wsgi.input"]))
            return [b""]

        self.served = Served(app, body=body)
        self.assertIsNone(self.served.failure)
        return found[0]

    def test_every_way_to_read(self):
        data = b"one\ntwo\n\nfour"
        ways = [
            (lambda i: i.read(), data),
            (lambda i: i.read(-1), data),
            (lambda i: i.read(None), data),
            (lambda i: i.read(0), b""),
            (lambda i: i.read(5), b"one\nt"),
            (lambda i: i.read(10**9), data),
            (lambda i: i.readline(), b"one\n"),
            (lambda i: i.readline(2), b"on"),
            (lambda i: [i.readline() for _ in range(6)], [b"one\n", b"two\n", b"\n", b"four", b"", b""]),
            (lambda i: i.readlines(), [b"one\n", b"two\n", b"\n", b"four"]),
            (lambda i: i.readlines(3), [b"one\n"]),
            (lambda i: list(i), [b"one\n", b"two\n", b"\n", b"four"]),
            (lambda i: [i.read(), i.read(), i.read(1), i.readline(), i.readlines(), list(i)], [data, b"", b"", b"", [], []]),
        ]
        for body in (lambda: data, lambda: Body(data), lambda: Body(*(data[i : i + 1] for i in range(len(data))))):
            for way, expected in ways:
                self.assertEqual(self.read(body(), way), expected)

    def test_no_body_is_an_empty_one(self):
        self.assertEqual(self.read(b"", lambda i: [i.read(), i.readline(), list(i)]), [b"", b"", []])

    def test_a_large_body_is_streamed(self):
        body = Body(*[b"x" * 100_000] * 50)

        def count(stream):
            total = 0
            while block := stream.read(65536):
                total += len(block)
                # Never further ahead of the app than the buffer.
                taken = 5_000_000 - sum(map(len, body.blocks))
                self.assertLessEqual(taken - total, 100_000)
            return total

        self.assertEqual(self.read(body, count), 5_000_000)
        self.assertLessEqual(max(body.asked), 1 << 20)

    def test_a_broken_body_is_an_error_and_never_an_end(self):
        def attempt(stream):
            errors = []
            for way in (stream.read, stream.readline, lambda: stream.read(10), stream.readlines):
                with self.assertRaises(OSError) as caught:
                    for _ in range(3):
                        way()
                errors.append(str(caught.exception))
            return errors

        for error in self.read(Body(b"par", error="the client went away"), attempt):
            self.assertIn("the client went away", error)

    def test_the_reader_is_given_back_once(self):
        body = Body(b"abc")
        self.read(body, lambda i: i.read(1))
        self.assertEqual(body.released, 1)

    def test_what_was_given_back_is_at_its_end(self):
        kept = self.read(Body(b"abc"), lambda i: i)
        self.assertEqual(kept.read(), b"")


class Errors(unittest.TestCase):
    def write(self, how):
        def app(environ, start_response):
            start_response("200 OK", [])
            how(environ["wsgi.errors"])
            return [b""]

        return Served(app)

    def test_write_writelines_flush(self):
        def how(errors):
            self.assertEqual(errors.write("a\nb"), 3)
            errors.writelines(["c\n", "d"])
            errors.flush()
            errors.write("e")

        self.assertEqual(self.write(how).host.log, ["a\n", "bc\n", "d", "e"])

    def test_print_and_logging_take_it(self):
        import logging

        def how(errors):
            print("printed", file=errors)
            handler = logging.StreamHandler(errors)
            handler.emit(logging.makeLogRecord({"msg": "logged"}))

        self.assertEqual(self.write(how).host.text, "printed\nlogged\n")

    def test_text_only_but_any_text(self):
        def how(errors):
            with self.assertRaises(TypeError):
                errors.write(b"bytes")
            errors.write("lone \udc80 ünï\n")

        self.assertEqual(self.write(how).host.text, "lone \\udc80 ünï\n")

    def test_a_line_without_end_is_not_kept(self):
        def how(errors):
            for _ in range(100):
                errors.write("x" * 1000)

        served = self.write(how)
        self.assertEqual(len(served.host.text), 100_000)
        self.assertLessEqual(max(map(len, served.host.log)), 20_000)


class FileWrapper(unittest.TestCase):
    def test_from_the_current_offset_and_closed_at_the_end(self):
        file = io.BytesIO(b"0123456789" * 30_000)
        file.seek(5)

        def app(environ, start_response):
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"](file)

        served = Served(app)
        self.assertEqual(served.body, (b"0123456789" * 30_000)[5:])
        self.assertGreater(len(served.blocks), 2)
        self.assertTrue(file.closed)

    def test_block_size_and_what_cannot_be_closed(self):
        class Bare:
            left = 3

            def read(self, size):
                self.left -= 1
                return b"x" * size if self.left >= 0 else b""

        def app(environ, start_response):
            start_response("200 OK", [])
            wrapped = environ["wsgi.file_wrapper"](Bare(), 7)
            assert not hasattr(wrapped, "close")
            return wrapped

        self.assertEqual(Served(app).blocks, [b"x" * 7] * 3)


class Validated(unittest.TestCase):
    def test_the_validator_has_nothing_to_say(self):
        @validator
        def app(environ, start_response):
            data = environ["wsgi.input"].read(3) + environ["wsgi.input"].readline(100) + environ["wsgi.input"].read(10)
            environ["wsgi.errors"].write("noted\n")
            environ["wsgi.errors"].flush()
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(data)))])
            return [data]

        for body in (b"", b"abcdef\nrest", Body(b"abc", b"def\n", b"rest")):
            served = Served(app, body=body, REQUEST_METHOD="POST")
            self.assertIsNone(served.failure)
            self.assertIsNone(served.error)
            expected = b"" if body == b"" else b"abcdef\nrest"
            self.assertEqual(served.body, expected)
            self.assertEqual(served.host.log, ["noted\n"])


if __name__ == "__main__":
    unittest.main()
