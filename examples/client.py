#!/usr/bin/env python3
"""Logs in (and registers before, with an address that is new), follows the live quotes of BTC_USD, and, as an
administrator, sets a spread, sees it arrive and takes it back. The standard library is all it needs.

    RATEBUS_EMAIL=you@example.com RATEBUS_PASSWORD=… examples/client.py
    examples/client.py URL EMAIL PASSWORD
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from decimal import Decimal

PAIR = "BTC_USD"
DEADLINE_S = 30


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status, text):
        super().__init__(f"{status} {text}")
        self.status = status


class Client:
    def __init__(self, url):
        self.url = url
        self.token = None

    def call(self, method, path, body=None):
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode()) from None

    def login(self, email, password):
        answer = self.call("POST", "/login", {"email": email, "password": password})
        self.token = answer["data"]["token"]["token"]

    def register(self, email, password):
        names = {"firstName": "An", "lastName": "Example"}
        self.call("POST", "/register", {**names, "email": email, "password": password, "confirmPassword": password})

    def quotes(self):
        """The live quotes: Server-Sent Events, of which `data:` lines are all that is needed here."""
        end = time.monotonic() + DEADLINE_S
        with urllib.request.urlopen(f"{self.url}/v1/rates/stream?pairs={PAIR}", timeout=DEADLINE_S) as stream:
            for line in stream:
                if time.monotonic() > end:
                    break
                if line.startswith(b"data:"):
                    data = json.loads(line[len(b"data:"):])
                    yield from data.get("quotes", [data])
        raise TimeoutError(f"the stream ended, or {DEADLINE_S} s have passed")


def show(quote):
    customer, rule = quote["customer"], quote["rule"]
    if customer is None:
        print(f"  {quote['pair']} {quote['status']}, no price: {quote['withheld']}")
        return
    # Prices are strings, so that no digit is lost on the way to a decimal.
    width = Decimal(customer["buy"]) - Decimal(customer["sell"])
    print(f"  {quote['pair']} {quote['status']}: buy {customer['buy']}, sell {customer['sell']}, width {width}, rule {rule}")


def spread_of(client):
    try:
        return client.call("GET", f"/v1/spreads/{PAIR}")
    except Refused as refused:
        if refused.status == 404:
            return None
        raise


def set_and_take_back(client, quotes):
    before = spread_of(client)
    markup = {"unit": "bps", "value": "25"}
    spread = client.call("PUT", f"/v1/spreads/{PAIR}", {"buy": markup, "sell": markup, "reason": "examples/client.py"})
    print(f"Set 25 basis points on each side, revision {spread['revision']}; the first quote with it:")
    try:
        rule = {"scope": PAIR, "revision": spread["revision"]}
        show(next(quote for quote in quotes if quote["rule"] == rule))
    finally:
        if before is None:
            client.call("DELETE", f"/v1/spreads/{PAIR}")
            print("Removed it again")
        else:
            client.call("POST", f"/v1/spreads/{PAIR}/rollback", {"revision": before["revision"]})
            print("The spread is what it was")


def main():
    defaults = ["http://localhost:3334", None, None]
    names = ["RATEBUS_URL", "RATEBUS_EMAIL", "RATEBUS_PASSWORD"]
    given = sys.argv[1:] + [None] * 3
    url, email, password = (g or os.environ.get(n, d) for g, n, d in zip(given, names, defaults))
    if not email or not password:
        sys.exit(__doc__)

    client = Client(url)
    try:
        client.login(email, password)
    except Refused as refused:
        if refused.status != 401:
            raise
        print("No such account, or another password: registering")
        client.register(email, password)
        client.login(email, password)
    role = client.call("GET", "/v1/me")["role"]
    print(f"Logged in as {email}, role {role}")

    quotes = client.quotes()
    print("Three quotes:")
    for _ in range(3):
        show(next(quotes))
    if role == "admin":
        set_and_take_back(client, quotes)
    else:
        print(f"Spreads are for administrators; 'ratebus admin promote --email {email}' makes one")


if __name__ == "__main__":
    try:
        main()
    except (Refused, OSError) as error:
        sys.exit(f"failed: {error}")
