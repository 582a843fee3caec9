#!/usr/bin/env python3
"""Follows the rates that ratebus publishes on a channel of Redis (sink/redis), without a package of its own.

    redis_consumer.py [URL [CHANNEL [COUNT]]]     redis://localhost:6379  rates:latest  for ever

The documents are described in docs/redis.md. A program of yours may rather use the redis package of PyPI: what matters
here is what is done with a document.
"""

import json
import os
import socket
import ssl
import sys
from decimal import Decimal
from urllib.parse import unquote, urlsplit

# The publisher speaks of each pair once a second: silence for longer means that the connection leads nowhere.
SILENCE = 30


def connect(url):
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port or 6379), timeout=SILENCE)
    if parts.scheme == "rediss":
        connection = ssl.create_default_context().wrap_socket(connection, server_hostname=parts.hostname)
    stream = connection.makefile("rwb")
    if parts.password:
        user = [unquote(parts.username)] if parts.username else []
        command(stream, "AUTH", *user, unquote(parts.password))
        answer(stream)
    return stream


def command(stream, *words):
    """Sends a command as Redis reads it: an array of strings, each with its length before it."""
    encoded = [word.encode() for word in words]
    stream.write(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
    stream.flush()


def answer(stream):
    """Reads one answer: a text, a number, a string with its length, or an array of answers."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("Redis closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise RuntimeError(rest.decode())
    if kind == b"$":
        return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2].decode()
    if kind == b"*":
        return [answer(stream) for _ in range(int(rest))]
    return rest.decode()


def show(document):
    rate = json.loads(document)
    if rate["v"] != 1:
        raise RuntimeError(f"a document of version {rate['v']}")
    if rate["status"] == "dead":
        print(rate["pair"], "has no price at the moment", flush=True)
        return
    # What customers pay and get where there is a spread, else the market's ask and bid. Strings, so that no digit is lost.
    prices = rate.get("customer") or rate["original"]
    buy, sell = Decimal(prices["buy"]), Decimal(prices["sell"])
    print(f"{rate['pair']} buy {buy} sell {sell} ({rate['status']}, {rate['source']})", flush=True)


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("REDIS_URL", "redis://localhost:6379")
    channel = sys.argv[2] if len(sys.argv) > 2 else "rates:latest"
    left = int(sys.argv[3]) if len(sys.argv) > 3 else None
    stream = connect(url)
    command(stream, "SUBSCRIBE", channel)
    while left != 0:
        kind, _, payload = answer(stream)
        if kind == "subscribe":
            print("listening to", channel, flush=True)
        elif kind == "message":
            show(payload)
            left = left and left - 1


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError) as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        pass
