"""A chat endpoint on this machine that answers, or misbehaves, as a test tells it to."""

import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(content):
    """The body of a chat completion whose message is this text or this JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


@contextmanager
def serving(*answers):
    """Yield (url, requests). Each answer is (status, body), or a function that makes one; the last repeats.

    A body may be `("slow", seconds, body)`, which waits, or `("trickle", seconds, body)`, which
    sends a byte at a time.
    """
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(
                {"path": self.path, "key": self.headers.get("Authorization"), **request}
            )
            answer = answers[min(len(requests), len(answers)) - 1]
            status, body = answer(request) if callable(answer) else answer
            with suppress(BrokenPipeError, ConnectionResetError):  # the client has given up
                self.reply(status, body)

        def reply(self, status, body):
            manner, seconds, body = body if isinstance(body, tuple) else ("at once", 0, body)
            if manner == "slow":
                time.sleep(seconds)
            if manner == "drop":
                self.connection.close()
                return
            data = body.encode()
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "0.01")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if manner == "trickle":
                for byte in data:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(seconds)
            else:
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
