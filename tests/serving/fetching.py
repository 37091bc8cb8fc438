"""A program for a network of its own: what a server fetches for requests, and what it does not.

In that network a public address lies on the own machine, so that a host is really public and really ours; it
sends on to private places, which count who asks them. Prints, as JSON, what each request got.
"""

import base64
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.serving.conftest import png
from tests.serving.process import Served

PUBLIC, NAMES = "93.184.216.34", ("images.example.org", "private.example.org", "both.example.org")
ASKED: list[str] = []
"""What the private place was asked for."""
ANSWERS = {
    "good": "http://images.example.org/good.png",
    "by-address": f"http://{PUBLIC}/good.png",
    "redirect-to-itself": "http://images.example.org/to?http://images.example.org/good.png",
    "redirect-to-loopback": "http://images.example.org/to?http://127.0.0.1:8001/secret.png",
    "redirect-to-a-private-name": "http://images.example.org/to?http://private.example.org:8001/secret.png",
    "redirect-to-ipv6": "http://images.example.org/to?http://[::1]:8001/secret.png",
    "redirect-to-mapped": "http://images.example.org/to?http://[::ffff:127.0.0.1]:8001/secret.png",
    "redirect-to-decimal": "http://images.example.org/to?http://2130706433:8001/secret.png",
    "redirect-to-metadata": "http://images.example.org/to?http://169.254.169.254/latest/meta-data/",
    "redirect-to-another-public": f"http://images.example.org/to?http://{PUBLIC}/good.png",
    "redirect-to-a-file": "http://images.example.org/to?file:///etc/passwd",
    "redirect-of-a-redirect": "http://images.example.org/to?/to%3Fhttp://127.0.0.1:8001/secret.png",
    "redirect-without-end": "http://images.example.org/loop",
    "private-name": "http://private.example.org:8001/secret.png",
    "name-of-both": "http://both.example.org/good.png",
    "other-host": "http://localhost:8001/secret.png",
    "no-picture": "http://images.example.org/page",
    "no-end": "http://images.example.org/endless",
    "nobody-there": "http://images.example.org:9/a.png",
}


class Public(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path in ("/to", "/loop"):
            self.send_response(302)
            self.send_header("Location", query.replace("%3F", "?") if query else "/loop")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        if path == "/endless":
            part = bytes(1 << 20)
            try:
                while True:
                    self.wfile.write(part)
            except OSError:
                return
        self.wfile.write(png() if path == "/good.png" else b"<html>")

    def log_message(self, *given: object) -> None:
        pass


class Private(Public):
    def do_GET(self) -> None:
        ASKED.append(self.path)
        super().do_GET()


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{PUBLIC}/32", "dev", "lo"], check=True)
    with TemporaryDirectory() as folder:
        hosts = Path(folder) / "hosts"
        lines = ["127.0.0.1 localhost", f"{PUBLIC} images.example.org both.example.org"]
        lines += ["127.0.0.1 private.example.org", "10.0.0.1 both.example.org"]
        hosts.write_text("\n".join(lines) + "\n")
        subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
        for address, kind in (((PUBLIC, 80), Public), (("127.0.0.1", 8001), Private)):
            threading.Thread(target=ThreadingHTTPServer(address, kind).serve_forever, daemon=True).start()
        data = "data:image/png;base64," + base64.b64encode(png()).decode()
        options = ["--fetch-from", f"[{','.join(NAMES)}]"]
        with Served(sys.argv[1], Path(folder), options) as server:
            own = server.ask("/v1/embeddings", {"input": data})[1]["data"][0]["embedding"]
            found = {}
            for name, url in ANSWERS.items():
                status, told = server.ask("/v1/embeddings", {"input": [{"image": url}]})
                same = status == 200 and told["data"][0]["embedding"] == own
                found[name] = [status, same, "" if status == 200 else told["error"]["message"]]
            print(json.dumps({"answers": found, "asked": ASKED, "alive": server.alive()}))


if __name__ == "__main__":
    main()
