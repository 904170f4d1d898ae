"""PEP 3333, "The start_response() Callable", "Error Handling" and "The write() Callable"."""

import sys
import unittest

from fixtures import Served

PLAIN = [("Content-Type", "text/plain")]


class Head(unittest.TestCase):
    def start(self, *arguments):
        """What start_response raises, at the call."""
        raised = []

        def app(environ, start_response):
            try:
                start_response(*arguments)
            except Exception as error:
                raised.append(error)
                start_response("500 Refused", [])
            return [b""]

        self.served = Served(app)
        self.assertIsNone(self.served.failure)
        return raised[0] if raised else None

    def test_status_and_headers_reach_the_host_as_they_are(self):
        headers = [("Set-Cookie", "a=1"), ("X-A", "caf\xe9\t\"x\""), ("Set-Cookie", "b=2"), ("content-LENGTH", "0")]
        self.assertIsNone(self.start("404 Nicht \xe4 gefunden", headers))
        self.assertEqual(self.served.status, "404 Nicht \xe4 gefunden")
        self.assertEqual(self.served.response.headers, headers)
        self.assertIsNot(self.served.response.headers, headers)

    def test_the_reason_may_be_empty(self):
        self.assertIsNone(self.start("200 ", []))
        self.assertEqual(self.served.response.reason, "")

    def test_a_wrong_status_is_refused_at_the_call(self):
        for status in ("", "200", "OK", "20 OK", "2000 OK", "200OK", " 200 OK", "2x0 OK", "099 Low", "100 Continue",
                       "101 Switching", "-20 OK", "200 a\rb", "200 a\nb", "200 OK\n", "200 a\0", "200 a\tb", "200 \x7f",
                       "200 \u20ac", "٢٠٠ OK", "200 \ud800"):
            self.assertIsInstance(self.start(status, []), ValueError, ascii(status))
        for status in (200, b"200 OK", None, ("200", "OK")):
            self.assertIsInstance(self.start(status, []), TypeError, repr(status))

    def test_wrong_headers_are_refused_at_the_call(self):
        for headers in (None, (("A", "b"),), {"A": "b"}, iter([("A", "b")]), "A: b"):
            self.assertIsInstance(self.start("200 OK", headers), TypeError, repr(headers))
        for header in ("A: b", ["A", "b"], ("A",), ("A", "b", "c"), (b"A", "b"), ("A", b"b"), ("A", 1), (1, "b"), ("A", None)):
            self.assertIsInstance(self.start("200 OK", [header]), TypeError, repr(header))
        for name in ("", "A B", "A:", "A\n", "A\0", "\xe4", "A\u20ac", "(A)", "A\r\nB", " A"):
            self.assertIsInstance(self.start("200 OK", [(name, "b")]), ValueError, ascii(name))
        for value in ("a\nb", "a\r\nb", "a\r", "\0", "\x1b[", "\x7f", "\u20ac", "\ud800", "a\n"):
            self.assertIsInstance(self.start("200 OK", [("A", value)]), ValueError, ascii(value))

    def test_hop_by_hop_headers_are_refused_at_the_call(self):
        for name in ("Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers",
                     "Transfer-Encoding", "Upgrade", "CONNECTION", "upgrade"):
            self.assertIsInstance(self.start("200 OK", [(name, "x")]), ValueError, name)

    def test_what_the_app_does_to_its_list_later_has_no_effect(self):
        def app(environ, start_response):
            headers = [("A", "b")]
            start_response("200 OK", headers)
            headers.append(("Evil", "a\r\nb"))
            return [b""]

        self.assertEqual(Served(app).response.headers, [("A", "b")])


class Calls(unittest.TestCase):
    def test_never_called(self):
        for result in ([b"x"], [], [b"x", b"y"], iter([b"x"])):
            served = Served(lambda environ, start_response: result)
            self.assertIn("start_response", served.failure)

    def test_as_late_as_in_the_first_step(self):
        def app(environ, start_response):
            start_response("201 Late", PLAIN)
            yield b"x"
            yield b"y"

        served = Served(app)
        self.assertEqual((served.status, served.blocks), ("201 Late", [b"x", b"y"]))

    def test_but_before_the_first_block(self):
        def app(environ, start_response):
            yield b"x"
            start_response("200 OK", PLAIN)

        self.assertIn("before it called start_response", Served(app).failure)

    def test_a_second_call_takes_exc_info(self):
        def app(environ, start_response):
            start_response("200 OK", PLAIN)
            start_response("201 OK", PLAIN)
            return [b""]

        self.assertIn("exc_info", Served(app).failure)

    def test_with_exc_info_it_replaces_what_was_not_sent(self):
        def app(environ, start_response):
            start_response("200 OK", [("A", "a")])
            yield b""
            yield b""
            try:
                raise ValueError
            except ValueError:
                start_response("500 Oops", [("B", "b")], sys.exc_info())
            yield b"page"

        served = Served(app)
        self.assertEqual(served.status, "500 Oops")
        self.assertEqual(served.response.headers, [("B", "b")])
        self.assertEqual(served.blocks, [b"page"])

    def test_with_exc_info_it_raises_again_what_comes_too_late(self):
        def app(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"sent"
            try:
                raise ValueError("too late")
            except ValueError:
                start_response("500 Oops", PLAIN, sys.exc_info())
            yield b"page"

        served = Served(app)
        self.assertEqual(served.status, "200 OK")
        self.assertEqual(served.blocks, [b"sent"])
        self.assertIn("ValueError: too late", served.error)

    def test_a_refused_call_is_no_call(self):
        def app(environ, start_response):
            try:
                start_response("200 OK", [("Bad\n", "")])
            except ValueError:
                start_response("200 OK", PLAIN)
            return [b"x"]

        self.assertEqual(Served(app).response.headers, PLAIN)


class Write(unittest.TestCase):
    def test_goes_ahead_of_the_iterable(self):
        def app(environ, start_response):
            write = start_response("200 OK", PLAIN)
            write(b"one ")
            write(b"")
            write(b"two ")
            return [b"three"]

        served = Served(app)
        self.assertEqual(served.body, b"one two three")

    def test_alone(self):
        def app(environ, start_response):
            start_response("200 OK", PLAIN)(b"all")
            return []

        self.assertEqual(Served(app).body, b"all")

    def test_in_the_midst_of_the_iterable(self):
        def app(environ, start_response):
            write = start_response("200 OK", PLAIN)
            yield b"1"
            write(b"2")
            yield b"3"
            write(b"4")

        self.assertEqual(Served(app).body, b"1234")

    def test_sends_the_head(self):
        def app(environ, start_response):
            start_response("200 OK", PLAIN)(b"x")
            try:
                raise KeyError("late")
            except KeyError:
                start_response("500 Oops", PLAIN, sys.exc_info())
            return []

        self.assertIn("KeyError: 'late'", Served(app).failure)

    def test_takes_bytes(self):
        for wrong in ("text", None, 1, bytearray(b"x")):
            def app(environ, start_response):
                start_response("200 OK", PLAIN)(wrong)
                return []

            self.assertIn("TypeError", Served(app).failure)


if __name__ == "__main__":
    unittest.main()
