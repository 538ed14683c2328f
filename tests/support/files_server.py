"""A file server on this machine that serves a folder, or misbehaves, as a test tells it to."""

import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving_files(folder, manner="well"):
    """Yield (address, names asked for).

    Manners: "well", "missing" (404), "other" (another content), "short" (cut off), "silent" (no
    answer for seconds), "trickle" (a byte at a time, for longer than anybody waits).
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rsplit("/", 1)[1]
            asked.append(name)
            if manner == "missing":
                self.send_error(404)
                return
            content = (folder / name).read_bytes()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.reply(content)
            self.close_connection = True

        def reply(self, content):
            if manner == "silent":
                time.sleep(2)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if manner == "other":
                content = content[::-1]
            if manner == "short":
                content = content[: len(content) // 2]
            if manner == "trickle":
                for _ in range(200):
                    self.wfile.write(content[:1])
                    self.wfile.flush()
                    time.sleep(0.02)
                return
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # closing it waits for answers that are under way
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/data", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
