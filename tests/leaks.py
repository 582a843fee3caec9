#!/usr/bin/env python3
"""Looks for what no answer may tell: paths of the server's files, SQL, the insides of the program. Reads HAR files."""

import json
import re
import sys

TELLTALE = re.compile(
    r"""(?<![\w.])/(?:home|root|tmp|usr|var|etc|proc)/   # a path
    | \.rs:\d | panicked | RUST_BACKTRACE | \.cargo/     # the program
    | sqlite | sqlx | \bSELECT\s.+\sFROM\b | \bINSERT\sINTO\b | \bUPDATE\s\w+\sSET\b | constraint\sfailed  # the database
    """,
    re.VERBOSE | re.IGNORECASE,
)


def main(paths):
    answers = leaks = 0
    for path in paths:
        with open(path, encoding="utf-8") as file:
            entries = json.load(file)["log"]["entries"]
        for entry in entries:
            answers += 1
            text = entry["response"].get("content", {}).get("text") or ""
            if found := TELLTALE.search(text):
                leaks += 1
                request = entry["request"]
                print(f"{request['method']} {request['url']} tells {found.group()!r}: {text[:300]}", file=sys.stderr)
    print(f"{answers} answers read, {leaks} tell too much")
    return 1 if leaks or not answers else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
