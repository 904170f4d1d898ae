"""A middleware in Python: `create_app(app)`, where `app` is what the host calls inward."""

import gzip
import io
import sys
import unittest
from wsgiref.validate import validator

from fixtures import (
    Body,
    Bytes,
    Failure,
    Inside,
    Reader,
    ResourceLimit,
    Response,
    Rest,
    Served,
    Stream,
    Timeout,
    Unavailable,
    Whole,
)

PLAIN = [("Content-Type", "text/plain")]


def whole(data=b"inner\n", status=200, reason="", headers=PLAIN):
    return Response(status, reason, headers, Whole(data))


def streamed(stream, headers=PLAIN):
    return Response(200, "", headers, Rest(stream))


def transparent(app):
    return app


def changing(change):
    """A middleware that does something to the environ."""

    def create_app(app):
        def changed(environ, start_response):
            change(environ)
            return app(environ, start_response)

        return changed

    return create_app


class Vars(unittest.TestCase):
    def serve(self, change, **variables):
        self.inside = Inside(whole())
        return Served(changing(change), inside=self.inside, **variables)

    def test_what_the_host_gave_goes_on_as_it_came(self):
        seen = {}
        served = self.serve(seen.update)
        self.assertEqual(served.body, b"inner\n")
        self.assertEqual(self.inside.vars["wsgi.multiprocess"], "true")
        self.assertEqual(self.inside.vars["wsgi.multithread"], "false")
        self.assertEqual(self.inside.vars["PATH_INFO"], "/caf\xc3\xa9")
        self.assertEqual([name for name in self.inside.vars if name.startswith("wsgi.")],
                         ["wsgi.url_scheme", "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"])

    def test_strings_are_changed_added_and_taken_away(self):
        def change(environ):
            environ["REMOTE_USER"] = "ada"
            environ["mine.private"] = "h\xe9"
            environ["PATH_INFO"] = "/other"
            del environ["HTTP_HOST"]

        self.serve(change)
        self.assertEqual(self.inside.vars["REMOTE_USER"], "ada")
        self.assertEqual(self.inside.vars["mine.private"], "h\xe9")
        self.assertEqual(self.inside.vars["PATH_INFO"], "/other")
        self.assertNotIn("HTTP_HOST", self.inside.vars)

    def test_what_is_no_string_stays_here(self):
        self.serve(lambda environ: environ.update({"mine.object": object(), "mine.number": 1, 7: "x", "mine.none": None}))
        self.assertEqual([name for name in self.inside.vars if not isinstance(name, str) or name.startswith("mine")], [])

    def test_a_string_that_stands_for_no_bytes_is_an_error_with_its_name(self):
        for value in ("\u20ac", "\ud800"):
            served = self.serve(lambda environ: environ.update({"mine.text": value}))
            self.assertIn("environ['mine.text'] has a character beyond latin-1", served.failure)
            self.assertEqual(self.inside.calls, [])


class RequestBodies(unittest.TestCase):
    def serve(self, change, body, times=1, **variables):
        self.inside = Inside(*[whole() for _ in range(times)])
        served = Served(changing(change), body=body, inside=self.inside, **variables)
        self.passed = self.inside.calls[0].input if self.inside.calls else None
        return served

    def test_the_hosts_reader_goes_on_unread(self):
        body = Body(b"abc")
        self.serve(lambda environ: None, body)
        self.assertIsInstance(self.passed, Reader)
        self.assertIs(self.passed.value, body)
        self.assertEqual(body.asked, [])
        self.assertEqual(body.released, 0, "it is not this one's any more")

    def test_what_was_read_from_goes_on_as_the_rest_in_bytes(self):
        body = Body(b"line\nre", b"st")
        self.serve(lambda environ: environ["wsgi.input"].readline(), body)
        self.assertEqual(self.passed, Bytes(b"rest"))
        self.assertEqual(body.released, 1)

    def test_a_body_in_its_place(self):
        for replacement in (io.BytesIO(b"other"), gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(b"other")))):
            self.serve(lambda environ: environ.update({"wsgi.input": replacement}), Body(b"abc"))
            self.assertEqual(self.passed, Bytes(b"other"))

    def test_no_more_than_the_environ_says(self):
        for length, expected in (("3", b"oth"), ("9", b"other"), ("", b"other"), ("-1", b"other"), ("0", b"")):
            change = lambda environ: environ.update({"wsgi.input": io.BytesIO(b"other"), "CONTENT_LENGTH": length})
            self.serve(change, b"")
            self.assertEqual(self.passed, Bytes(expected))

    def test_what_came_in_bytes_goes_on_in_bytes(self):
        for body in (b"", b"abc"):
            self.serve(lambda environ: None, body)
            self.assertEqual(self.passed, Bytes(body))

    def test_it_is_bounded(self):
        class Endless:
            def read(self, size):
                return b"x" * size

        served = self.serve(lambda environ: environ.update({"wsgi.input": Endless()}), b"")
        self.assertIs(served.kind, ResourceLimit)
        self.assertIn("16777216 bytes", served.failure)

    def test_a_broken_body_is_an_error_here(self):
        served = self.serve(lambda environ: environ["wsgi.input"].read(1), Body(b"ab", error="the client went away"))
        self.assertIn("the client went away", served.failure)

    def test_what_was_passed_on_is_read_by_nobody_else(self):
        def create_app(app):
            def twice(environ, start_response):
                app(environ, start_response)
                return app(environ, start_response)

            return twice

        def reads_after(app):
            def reading(environ, start_response):
                app(environ, start_response)
                return [environ["wsgi.input"].read()]

            return reading

        for middleware in (create_app, reads_after):
            served = Served(middleware, body=Body(b"abc"), inside=Inside(whole(), whole()))
            self.assertIn("OSError", served.failure)
            self.assertIn("passed on, unread", served.failure)

    def test_a_retry_with_a_body_that_was_read_first(self):
        def create_app(app):
            def retry(environ, start_response):
                body = environ["wsgi.input"].read()
                for attempt in (1, 2):
                    environ["wsgi.input"] = io.BytesIO(body)
                    try:
                        return app(environ, start_response)
                    except Exception as error:
                        assert (error.kind, error.detail) == ("exception", "once")
                        assert attempt == 1

            return retry

        inside = Inside(Failure("once"), whole())
        served = Served(create_app, body=Body(b"abc"), inside=inside)
        self.assertEqual(served.body, b"inner\n")
        self.assertEqual([call.input for call in inside.calls], [Bytes(b"abc")] * 2)


class Responses(unittest.TestCase):
    def test_one_block_is_a_list(self):
        def create_app(app):
            def upper(environ, start_response):
                def start(status, headers, exc_info=None):
                    assert (status, headers) == ("200 OK", PLAIN), (status, headers)
                    return start_response("201 Fine", headers + [("X-A", "b")], exc_info)

                (block,) = app(environ, start)
                return [block.upper()]

            return upper

        served = Served(create_app, inside=Inside(whole()))
        self.assertEqual((served.status, served.body), ("201 Fine", b"INNER\n"))
        self.assertEqual(served.response.headers, PLAIN + [("X-A", "b")])
        self.assertTrue(served.is_whole)

    def test_a_reason_of_its_own_and_none(self):
        for status, reason, line in ((404, "Nicht da", "404 Nicht da"), (404, "", "404 Not Found"), (299, "", "299 ")):
            served = Served(transparent, inside=Inside(whole(status=status, reason=reason)))
            self.assertEqual(served.status, line)

    def test_headers_that_come_in_lists_are_tuples_here(self):
        served = Served(transparent, inside=Inside(whole(headers=[["A", "b"], ["A", "c"]])))
        self.assertEqual(served.response.headers, [("A", "b"), ("A", "c")])

    def test_a_stream_is_passed_on_block_by_block(self):
        stream = Stream(b"1", b"", b"2", b"3")
        served = Served(transparent, steps=2, inside=Inside(streamed(stream)))
        self.assertEqual(served.blocks, [b"1", b"2"])
        self.assertEqual(stream.blocks, [b"3"], "no block is asked for ahead")
        self.assertEqual(stream.done, ["close", "drop"])

    def test_to_its_end(self):
        stream = Stream(b"1", b"2")
        served = Served(transparent, inside=Inside(streamed(stream)))
        self.assertEqual((served.blocks, served.error), ([b"1", b"2"], None))
        self.assertEqual(stream.done, ["close", "drop"])

    def test_one_that_breaks(self):
        stream = Stream(b"1", error="it broke")
        served = Served(transparent, inside=Inside(streamed(stream)))
        self.assertEqual((served.blocks, served.error), ([b"1"], "it broke"))
        self.assertEqual(stream.done, ["close", "drop"])

    def test_a_generator_around_it(self):
        def create_app(app):
            def wrapped(environ, start_response):
                response = app(environ, start_response)
                try:
                    yield b"<"
                    yield from response
                    yield b">"
                finally:
                    response.close()

            return wrapped

        for steps in (None, 1, 2):
            stream = Stream(b"1", b"2")
            served = Served(create_app, steps=steps, inside=Inside(streamed(stream)))
            self.assertEqual(served.body, b"<12>"[:steps])
            self.assertEqual(stream.done, ["close", "drop"])

    def test_what_a_middleware_leaves_open_is_closed(self):
        for answer in ([b"mine"], iter([b"mi", b"ne"])):
            def create_app(app):
                def forgetful(environ, start_response):
                    app(environ, lambda *_: None)
                    app(environ, lambda *_: None)
                    start_response("200 OK", PLAIN)
                    return answer

                return forgetful

            streams = Stream(b"1"), Stream(b"2")
            served = Served(create_app, inside=Inside(*map(streamed, streams)))
            self.assertEqual(served.body, b"mine")
            self.assertEqual([stream.done for stream in streams], [["close", "drop"]] * 2)

    def test_also_where_the_middleware_fails(self):
        def create_app(app):
            def failing(environ, start_response):
                app(environ, start_response)
                raise KeyError("mine")

            return failing

        stream = Stream(b"1")
        served = Served(create_app, inside=Inside(streamed(stream)))
        self.assertIn("KeyError: 'mine'", served.failure)
        self.assertEqual(stream.done, ["close", "drop"])

    def test_a_head_that_may_not_be_sent_is_an_error_here(self):
        stream = Stream(b"1")
        served = Served(transparent, inside=Inside(streamed(stream, [("Connection", "close")])))
        self.assertIn("hop-by-hop", served.failure)
        self.assertEqual(stream.done, ["close", "drop"])

    def test_it_is_called_only_while_a_request_is_served(self):
        with self.assertRaisesRegex(RuntimeError, "while a request is served"):
            Served(lambda app: app({}, None), inside=Inside())

    def test_a_middleware_may_answer_by_itself(self):
        def create_app(app):
            def mine(environ, start_response):
                start_response("200 OK", PLAIN)
                return [b"mine"]

            return mine

        body = Body(b"abc")
        self.assertEqual(Served(create_app, body=body, inside=Inside()).body, b"mine")
        self.assertEqual(body.released, 1)


class Failures(unittest.TestCase):
    KINDS = (
        (Failure("Traceback ..."), "exception", "Traceback ..."),
        (Timeout(), "timeout", ""),
        (ResourceLimit("--max-memory"), "resource-limit", "--max-memory"),
        (Unavailable("busy"), "unavailable", "busy"),
    )

    def test_one_that_is_caught_is_a_page(self):
        def create_app(app):
            def page(environ, start_response):
                try:
                    return app(environ, start_response)
                except Exception as error:
                    start_response("503 Sorry", PLAIN, sys.exc_info())
                    return [f"{error.kind}|{error.detail}".encode()]

            return page

        for failure, kind, detail in self.KINDS:
            served = Served(create_app, inside=Inside(failure))
            self.assertEqual((served.status, served.body), ("503 Sorry", f"{kind}|{detail}".encode()))

    def test_one_that_is_not_goes_on_as_it_is(self):
        for failure, _, detail in self.KINDS:
            served = Served(transparent, inside=Inside(failure))
            self.assertIs(served.kind, type(failure))
            self.assertEqual(served.failure, detail)

    def test_one_that_leads_to_another_is_in_its_traceback(self):
        def create_app(app):
            def worse(environ, start_response):
                try:
                    return app(environ, start_response)
                except Exception as error:
                    raise KeyError("worse") from error

            return worse

        served = Served(create_app, inside=Inside(Timeout()))
        self.assertIs(served.kind, Failure)
        self.assertIn("KeyError: 'worse'", served.failure)
        self.assertIn("the app inside failed (timeout)", served.failure)


class Others(unittest.TestCase):
    """Middleware that was written for any server."""

    def test_the_validator_has_nothing_to_say(self):
        for body, passed in ((b"", b""), (b"abc", b"abc"), (Body(b"ab", b"c"), b"abc")):
            for make in (whole, lambda: streamed(Stream(b"inner", b"\n"))):
                inside = Inside(make())
                served = Served(validator, body=body if not isinstance(body, Body) else Body(b"ab", b"c"), inside=inside,
                                REQUEST_METHOD="POST")
                self.assertIsNone(served.failure)
                self.assertIsNone(served.error)
                self.assertEqual(served.body, b"inner\n")
                self.assertEqual(inside.calls[0].input, Bytes(passed))

    def test_werkzeug_proxy_fix(self):
        from werkzeug.middleware.proxy_fix import ProxyFix

        inside = Inside(whole())
        served = Served(lambda app: ProxyFix(app, x_for=1, x_proto=1, x_host=1, x_prefix=1), inside=inside, REMOTE_ADDR="127.0.0.1",
                        HTTP_X_FORWARDED_FOR="192.0.2.1", HTTP_X_FORWARDED_PROTO="https",
                        HTTP_X_FORWARDED_HOST="shop.example", HTTP_X_FORWARDED_PREFIX="/shop")
        self.assertEqual(served.body, b"inner\n")
        expected = {"REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "https", "HTTP_HOST": "shop.example", "SCRIPT_NAME": "/shop"}
        self.assertEqual({name: inside.vars[name] for name in expected}, expected)

    def test_werkzeug_dispatcher(self):
        from werkzeug.middleware.dispatcher import DispatcherMiddleware

        def other(environ, start_response):
            start_response("200 OK", PLAIN)
            return [environ["SCRIPT_NAME"].encode() + b" other"]

        create_app = lambda app: DispatcherMiddleware(app, {"/other": other})
        self.assertEqual(Served(create_app, inside=Inside(), PATH_INFO="/other/x").body, b"/other other")
        self.assertEqual(Served(create_app, inside=Inside(whole()), PATH_INFO="/x").body, b"inner\n")


if __name__ == "__main__":
    unittest.main()
