"""The hello that all contestants say, in Flask: any server of PEP 3333 runs it."""

from flask import Flask, Response

app = Flask(__name__)


@app.get("/")
def hello():
    return Response("hello world\n", content_type="text/plain; charset=utf-8")
