#!/usr/bin/env python3
"""Follows the rates that processes of ratebus tell each other over NATS (bus.backend), without a package of its own.

    nats_consumer.py [URL [SUBJECT [COUNT]]]     nats://localhost:4222  rates.>  for ever

With KEYS_FILE in its environment it believes only what is signed with a key of that file (bus.keys_file). The messages
are described in docs/messages.md; over Redis they are the same. A program of yours may rather use the nats-py package of
PyPI: what matters here is what is done with a message.
"""

import hashlib
import hmac
import json
import os
import socket
import ssl
import sys
import time
from collections import deque
from datetime import datetime, timezone
from urllib.parse import unquote, urlsplit

# Whoever speaks repeats himself at least every 0.7 s: after so many seconds without a word another may.
SILENCE = 3


class Connection:
    """A connection as NATS wants it: lines of text, and messages with their length before them."""

    def __init__(self, url):
        parts = urlsplit(url)
        connection = socket.create_connection((parts.hostname, parts.port or 4222), timeout=30)
        # The server speaks first, in plain text, though TLS may follow. Byte by byte, so that nothing of what follows is taken.
        while not connection.recv(1).endswith(b"\n"):
            pass
        if parts.scheme == "tls":
            connection = ssl.create_default_context().wrap_socket(connection, server_hostname=parts.hostname)
        self.stream = connection.makefile("rwb")
        options = {"verbose": False, "pedantic": False, "lang": "python3", "version": "1"}
        if parts.password:
            options.update(user=unquote(parts.username or ""), **{"pass": unquote(parts.password)})
        self.send("CONNECT " + json.dumps(options))

    def send(self, *lines):
        self.stream.write("".join(line + "\r\n" for line in lines).encode())
        self.stream.flush()

    def next(self):
        """The next line of the server's in words, and the message that comes with it."""
        words = self.stream.readline().decode().split()
        if not words:
            raise ConnectionError("NATS closed the connection")
        if words[0] == "-ERR":
            raise RuntimeError(" ".join(words))
        if words[0] == "PING":
            self.send("PONG")
        return words, self.stream.read(int(words[-1]) + 2)[:-2] if words[0] == "MSG" else None


def read_keys(path):
    """The keys of a file, one in each line, by their names."""
    with open(path, "rb") as file:
        keys = [line.rstrip() for line in file if line.strip()]
    return {hashlib.sha256(key).digest()[:4].hex(): key for key in keys}


def body(subject, text, keys):
    """What a message says, if it is one of ratebus and, where there are keys, signed with one."""
    envelope = json.loads(text)
    if envelope["v"] != 1:
        raise ValueError(f"a message of version {envelope['v']}")
    if keys:
        # The code is over the body as it is written, and the body is the last member.
        written = text[text.index(b'"body":') + len(b'"body":') : -1]
        name, _, code = envelope.get("mac", "").partition(":")
        signed = b"ratebus message 1\0" + subject.encode() + b"\0" + written
        if name not in keys or not hmac.compare_digest(hmac.digest(keys[name], signed, "sha256").hex(), code):
            raise ValueError("a message that is not signed with a key of ours")
    return envelope["body"]


class Speaker:
    """Who is heard under a subject: of several processes that could speak one does, and what it says is numbered."""

    def __init__(self):
        self.epoch, self.sequence, self.heard_at, self.past = None, 0, 0, deque(maxlen=8)

    def is_news(self, said):
        epoch, sequence, now = said["epoch"], said["sequence"], time.monotonic()
        if epoch in self.past or (epoch == self.epoch and sequence <= self.sequence):
            return False
        if epoch != self.epoch:
            # Another waits until the one that is heard is followed, says goodbye (it is None then) or falls silent.
            if self.epoch and said.get("follows") != self.epoch and now - self.heard_at < SILENCE:
                return False
            self.past.append(self.epoch)
        self.epoch, self.sequence, self.heard_at = epoch, sequence, now
        if said["payload"] is None:
            self.past.append(epoch)
            self.epoch = None
        return True


def status(price, sent_at):
    """Whether a price still holds: its feed's age when it was sent, and how long ago that is."""
    sent_at = datetime.strptime(sent_at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    age = price["feedAgeMs"] + max(0, (time.time() - sent_at.timestamp()) * 1000)
    return "fresh" if age <= price["staleAfterMs"] else "stale" if age <= price["deadAfterMs"] else "dead"


def text(said):
    rate = said["payload"].get("rate")
    if rate is None:
        return json.dumps(said["payload"])
    # Strings, so that no digit is lost: for sums there is decimal.Decimal.
    bid, ask = rate.get("bid", rate.get("price")), rate.get("ask", rate.get("price"))
    return f"{rate['pair']} bid {bid} ask {ask} ({status(rate, said['sentAt'])}, {rate['source']})"


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("NATS_URL", "nats://localhost:4222")
    wanted = sys.argv[2] if len(sys.argv) > 2 else "rates.>"
    left = int(sys.argv[3]) if len(sys.argv) > 3 else None
    keys = read_keys(os.environ["KEYS_FILE"]) if "KEYS_FILE" in os.environ else {}
    connection = Connection(url)
    connection.send(f"SUB {wanted} 1", "PING")
    speakers, shown = {}, {}
    while left != 0:
        words, message = connection.next()
        if words[0] == "PONG":
            print("listening to", wanted, flush=True)
        if words[0] != "MSG":
            continue
        subject = words[1]
        try:
            said = body(subject, message, keys)
        except (ValueError, KeyError) as error:
            print(f"{subject}: {error}", file=sys.stderr, flush=True)
            continue
        if not speakers.setdefault(subject, Speaker()).is_news(said) or said["payload"] is None:
            continue
        # What is said again is there for those who join.
        if text(said) != shown.get(subject):
            shown[subject] = text(said)
            print(shown[subject], flush=True)
            left = left and left - 1


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError) as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        pass
