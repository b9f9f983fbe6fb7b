"""A binary cache over HTTP, which keeps what it is given by name: `cache_server.py FOLDER PORT`, with a secret to read.

What is below `/private/` is for those alone who sign with the secret, as buckets want it: version 4 of AWS's signatures
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
"""

from __future__ import annotations

import hashlib
import hmac
import http.server
import re
import sys
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/(?P<scope>[^,]+), ?"
    r"SignedHeaders=(?P<names>[^,]+), ?Signature=(?P<signature>\w+)"
)
kept, secret = Path(sys.argv[1]), sys.stdin.readline().strip()


class Cache(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = kept / urlsplit(self.path).path.strip("/")
        if not self.may(b""):
            self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif path.is_file():
            self.answer(200, path.read_bytes())
        else:
            self.answer(404, b"")

    def do_HEAD(self):
        self.do_GET()

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.may(body):
            self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            return
        path = kept / urlsplit(self.path).path.strip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        self.answer(200, b"")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def may(self, body):
        return not self.path.startswith("/private/") or is_signed(self.command, self.path, self.headers, body)

    def log_message(self, *_):
        pass


def is_signed(method, path, headers, body):
    """Whether a request was signed with the secret, and the body is what was signed."""
    said = _SIGNED.fullmatch(headers.get("Authorization", ""))
    if said is None:
        return False
    hashed = headers.get("x-amz-content-sha256", hashlib.sha256(body).hexdigest())
    if hashed not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
        return False
    url = urlsplit(path)
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(url.query, keep_blank_values=True)
    )
    request = "\n".join(
        (
            method,
            url.path,
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in said["names"].split(";")),
            "",
            said["names"],
            hashed,
        )
    )
    digest = hashlib.sha256(request.encode()).hexdigest()
    words = "\n".join(("AWS4-HMAC-SHA256", headers.get("x-amz-date", ""), said["scope"], digest))
    key = f"AWS4{secret}".encode()
    for part in said["scope"].split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(hmac.digest(key, words.encode(), "sha256").hex(), said["signature"])


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("", int(sys.argv[2])), Cache)
    sys.stdout.write("listens\n")
    sys.stdout.flush()
    server.serve_forever()
