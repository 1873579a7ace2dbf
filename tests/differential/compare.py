#!/usr/bin/env python3
"""Feeds the same streams to cede's parser, to h11 and to llhttp, and compares what each of them reads.

    compare.py DRIVER [--seed N] [--count N]

A request that cede accepts must be accepted by one of the others, and read the same by each that accepts it; cede may be
alone only where each of the others has stopped for a limitation of its own, listed below. A request that cede refuses
while another accepts it has to be refused for a reason of the list below. Every entry of the lists has to be used by
the streams made by hand, so that no entry outlives its reason.
"""

import argparse
import json
import random
import re
import secrets
import subprocess
import sys
from collections import Counter, namedtuple

import h11
import httptools

import corpus

# What cede refuses and others accept: its reason, and why.
STRICTER = {
    "LF without CR": "RFC 9112 section 2.2: to take a bare LF as a line end is a MAY; erratum 7633 for chunks",
    "CR without LF": "RFC 9112 section 2.2: a bare CR is invalid",
    "control byte in a line": "RFC 9110 section 5.5: invalid in field values; section 5.6.4 in quoted strings",
    "field line begins with white space": "RFC 9112 section 5.2: a server rejects obs-fold or replaces it",
    "malformed target": "RFC 9112 section 3.2: these bytes have to be encoded; RFC 9110 section 4.2.4 for user information",
    "form of target not allowed for the method": "RFC 9112 section 3.2: one form for CONNECT, another for `*`",
    "unknown major version": "RFC 9110 section 15.6.6: another major version is not HTTP/1",
    "no Host": "RFC 9112 section 3.2: 400 for HTTP/1.1 without Host (llhttp leaves that to its user)",
    "more than one Host": "RFC 9112 section 3.2 (llhttp leaves that to its user)",
    "malformed Host": "RFC 9112 section 3.2: 400 for an invalid Host (both leave that to their users)",
    "more than one Content-Length": "RFC 9110 section 8.6: equal ones may be refused",
    "malformed Content-Length": "RFC 9110 section 8.6: a list of equal ones may be refused",
    "Content-Length beside Transfer-Encoding": "RFC 9112 section 6.3: ought to be handled as an error",
    "Transfer-Encoding in HTTP/1.0": "RFC 9112 section 6.1: framing is faulty",
    "malformed Transfer-Encoding": "RFC 9112 section 6.1: not a list of codings",
    "unknown transfer coding": "RFC 9112 section 6.1: 501",
    "chunked is not the last coding, or there twice": "RFC 9112 section 6.1: once, and last (llhttp forgets a field before)",
    "content with a method that has none": "RFC 9110 sections 9.3.6 and 9.3.8",
    "malformed chunk size": "RFC 9112 section 7.1: at most 16 digits and 2^60, no overflow",
    "malformed chunk extension": "RFC 9112 section 7.1.1: the grammar (others skip to the line end)",
    "unknown expectation": "RFC 9110 section 10.1.1: 417",
    "malformed version": "RFC 9112 section 2.3: digit, full stop, digit",
    "too many empty lines before the request line": "RFC 9112 section 2.2: at least one is skipped, here up to 4",
    "https target on a connection that is not secured": "RFC 9110 section 7.4: 421",
    "request line is not method SP target SP version": "RFC 9112 section 3: one space between the parts",
}

# Where a parser stops for a limitation of its own and so says nothing about what follows; `own` is what cede reads there.
METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"}
SPACED_EXTENSION = re.compile(rb"\r\n[0-9A-Fa-f]+[ \t]+;|\r\n[0-9A-Fa-f]+;[^\r\n]*[ \t]")
FRAMING_TRAILER = re.compile(
    rb"\r\n0+[^\r\n]*\r\n([^\r\n]+\r\n)*(transfer-encoding|content-length):", re.I
)
CLOSE_IN_TRAILERS = re.compile(
    rb"\r\n0+[^\r\n]*\r\n([^\r\n]+\r\n)*connection:[^\r\n]*close", re.I
)
TAB_BEHIND_CODING = re.compile(rb"chunked[ \t]*\t[ \t]*\r\n", re.I)
OFFER = "an offer to upgrade"


def unknown_method(name, other, stream, own):
    reasons = ("Invalid method encountered", "Expected space after method")
    return name == "llhttp" and other.reason in reasons and own.method not in METHODS


def empty_line(name, other, stream, own):
    return name == "h11" and other.reason == "no request line received"


def old_keep_alive(name, other, stream, own):
    return (
        name == "h11"
        and other.end == "closed"
        and other.requests
        and other.requests[-1].version == "1.0"
    )


def spaced_extension(name, other, stream, own):
    reasons = ("illegal chunk header", "Invalid character in chunk")
    return other.reason.startswith(reasons) and SPACED_EXTENSION.search(stream)


def framing_in_trailers(name, other, stream, own):
    return re.search(
        "Transfer-Encoding|Content-Length", other.reason, re.I
    ) and FRAMING_TRAILER.search(stream)


def close_in_trailers(name, other, stream, own):
    return name == "llhttp" and other.end == "closed" and CLOSE_IN_TRAILERS.search(stream)


def tab_behind_coding(name, other, stream, own):
    return other.reason == "Request has invalid `Transfer-Encoding`" and TAB_BEHIND_CODING.search(
        stream
    )


def minor_version(name, other, stream, own):
    return other.reason == "Invalid HTTP version" and re.search(rb"HTTP/1\.[2-9]\r\n", stream)


def upgrade(name, other, stream, own):
    return other.reason == OFFER


NO_VERDICT = {
    "RFC 9110 section 9.1: any token is a method, llhttp knows a list of them": unknown_method,
    "RFC 9112 section 2.2: empty lines before a request line ought to be ignored, h11 ignores none": empty_line,
    "RFC 9112 section 9.3: HTTP/1.0 persists with `keep-alive`, with h11 it does not": old_keep_alive,
    "RFC 9112 section 7.1.1: white space in an extension is to be read, h11 and llhttp refuse it": spaced_extension,
    "RFC 9110 section 6.5.1: a trailer is no framing field, h11 and llhttp judge it as one": framing_in_trailers,
    "RFC 9110 section 6.5.1: a trailer does not end the connection, with llhttp it does": close_in_trailers,
    "RFC 9110 section 6.2: a higher minor version is read as 1.1, llhttp refuses it": minor_version,
    "RFC 9110 section 5.5: a value may end with a tab, llhttp refuses it behind a coding": tab_behind_coding,
    "RFC 9110 section 7.8: the body goes before the upgrade, the binding of llhttp leaves it out": upgrade,
}


Request = namedtuple("Request", "method target version fields body trailers")
# `end` is why there are no more: idle, incomplete, closed, reject.
Read = namedtuple("Read", "requests end reason")

# Fields that cede leaves out of trailers: too late for framing, routing or the connection (RFC 9110 section 6.5.1).
NOT_IN_TRAILERS = {
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"expect",
    b"upgrade",
    b"date",
    b"te",
    b"keep-alive",
    b"proxy-connection",
    b"trailer",
}


def normal(fields):
    """Names in lower case, and values as all of them give them out: h11 changes the case of codings."""
    fields = [(bytes(name).lower(), bytes(value).strip(b" \t")) for name, value in fields]
    return [
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in fields
    ]


def normal_trailers(fields):
    return [(name, value) for name, value in normal(fields) if name not in NOT_IN_TRAILERS]


def normal_version(version):
    return "1.1" if version > "1.1" and version.startswith("1.") else version


def by_h11(stream):
    connection, requests = h11.Connection(h11.SERVER), []
    request = None
    try:
        connection.receive_data(stream)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, body = event, bytearray()
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                requests.append(
                    Request(
                        request.method,
                        request.target,
                        normal_version(request.http_version.decode()),
                        normal(request.headers),
                        bytes(body),
                        normal_trailers(event.headers),
                    )
                )
                request = None
                # What is not accepted is no upgrade and no tunnel.
                connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.their_state is not h11.DONE or connection.our_state is not h11.DONE:
                    return Read(requests, "closed", "")
                connection.start_next_cycle()
            elif event is h11.NEED_DATA:
                is_idle = request is None and not connection.trailing_data[0]
                return Read(requests, "idle" if is_idle else "incomplete", "")
            elif event is h11.PAUSED:
                return Read(requests, "closed", "")
    except h11.RemoteProtocolError as error:
        return Read(requests, "reject", str(error))


class ByLlhttp:
    """The callbacks of llhttp."""

    def __init__(self):
        self.requests, self.parser, self.is_closed = [], httptools.HttpRequestParser(self), False
        self.is_offered = False
        self.on_message_begin()
        self.begun = False

    def on_message_begin(self):
        self.begun, self.in_trailers, self.is_head_done = True, False, False
        self.target, self.fields, self.body, self.trailers = b"", [], bytearray(), []

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        (self.trailers if self.is_head_done else self.fields).append((name, value))

    def on_headers_complete(self):
        self.is_head_done = True

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        if self.is_closed:
            return
        self.begun = False
        names = {bytes(name).lower() for name, _ in self.fields}
        if self.parser.should_upgrade() and names & {b"content-length", b"transfer-encoding"}:
            self.is_closed = self.is_offered = True
            return
        version = normal_version(self.parser.get_http_version())
        self.requests.append(
            Request(
                self.parser.get_method(),
                self.target,
                version,
                normal(self.fields),
                bytes(self.body),
                normal_trailers(self.trailers),
            )
        )
        self.is_closed = not self.parser.should_keep_alive()

    def read(self, stream):
        try:
            while True:
                try:
                    self.parser.feed_data(stream)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    # What is not accepted is no upgrade and no tunnel.
                    stream = stream[upgrade.args[0] :]
                    if not stream:
                        break
        except httptools.HttpParserError as error:
            if not self.is_closed:
                return Read(self.requests, "reject", str(error))
        end = "closed" if self.is_closed else "incomplete" if self.begun else "idle"
        return Read(self.requests, end, OFFER if self.is_offered else "")


def by_cede(line):
    answer = json.loads(line)
    unhex = lambda pairs: [(bytes.fromhex(name), bytes.fromhex(value)) for name, value in pairs]
    requests = []
    for request in answer["requests"]:
        path, query, authority = (
            None if request[key] is None else bytes.fromhex(request[key])
            for key in ("path", "query", "authority")
        )
        target = (request["form"], authority, path, query)
        requests.append(
            Request(
                bytes.fromhex(request["method"]),
                target,
                request["version"],
                normal(unhex(request["fields"])),
                bytes.fromhex(request["body"]),
                normal(unhex(request["trailers"])),
            )
        )
    return Read(requests, answer["end"]["end"], answer["end"].get("reason", ""))


def parts(request):
    """The target of a parser that does not split it, as cede would."""
    target, method = request.target, request.method
    host = dict(request.fields).get(b"host")
    before, mark, query = target.partition(b"?")
    query = query if mark else None
    if method == b"CONNECT":
        return ("Authority", target, b"", None)
    if target.startswith(b"/"):
        return ("Origin", host, before, query)
    if target == b"*":
        return ("Asterisk", host, b"*", None)
    scheme, _, rest = before.partition(b"://")
    authority, slash, path = rest.partition(b"/")
    whole = b"*" if method == b"OPTIONS" and query is None else b"/"
    return (
        f"Absolute({scheme.decode().title()})",
        authority,
        slash + path if slash else whole,
        query,
    )


def differences(stream, cede, others):
    """Where cede reads otherwise: (kind, detail, what allows it if anything does)."""
    excused = {}
    for index in range(max(len(read.requests) for read in [cede, *others.values()]) + 1):
        own = cede.requests[index] if index < len(cede.requests) else None
        theirs = {
            name: other.requests[index]
            for name, other in others.items()
            if index < len(other.requests)
        }
        if own is None:
            # On a connection that cede has closed nobody can be led astray.
            if cede.end == "reject" and theirs:
                yield ("stricter", cede.reason, {cede.reason} & set(STRICTER))
            elif cede.end in ("incomplete", "idle") and theirs:
                yield (
                    "missing",
                    f"{index}: {sorted(theirs)} read a request where cede is {cede.end}",
                    set(),
                )
            return
        for name, other in others.items():
            if len(other.requests) == index:
                excused[name] = {
                    why for why, applies in NO_VERDICT.items() if applies(name, other, stream, own)
                }
        if not theirs:
            ends = ", ".join(
                f"{name}: {other.end} {other.reason}" for name, other in others.items()
            )
            yield (
                "alone",
                f"{index}: {own}; {ends}",
                set().union(*excused.values()) if all(excused.values()) else set(),
            )
            return
        for name, other in theirs.items():
            for field in Request._fields:
                mine, its = getattr(own, field), getattr(other, field)
                if field == "target":
                    its = parts(other)
                if mine != its:
                    yield ("differs", f"{index}: {field}: cede {mine!r}, {name} {its!r}", set())


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("driver")
    arguments.add_argument("--seed", type=int, default=secrets.randbits(32))
    arguments.add_argument("--count", type=int, default=10_000)
    options = arguments.parse_args()
    print(f"seed {options.seed} (again: --seed {options.seed} --count {options.count})")
    source = random.Random(options.seed)
    made = list(corpus.VALID) + list(corpus.all_made())
    streams = made + [corpus.mutated(source) for _ in range(options.count)]

    lines = "".join(stream.hex() + "\n" for stream in streams)
    driver = subprocess.run(
        [options.driver], input=lines, stdout=subprocess.PIPE, text=True, check=True
    )
    answers = driver.stdout.splitlines()
    assert len(answers) == len(
        streams
    ), f"the driver answered {len(answers)} of {len(streams)} streams"

    used, found, seen = set(), [], Counter()
    for index, (stream, answer) in enumerate(zip(streams, answers)):
        cede = by_cede(answer)
        others = {"h11": by_h11(stream), "llhttp": ByLlhttp().read(stream)}
        seen.update(["requests"] * len(cede.requests))
        seen[cede.end] += 1
        for kind, detail, allowed in differences(stream, cede, others):
            seen[f"{kind}, allowed" if allowed else kind] += 1
            if not allowed:
                found.append((kind, detail, stream))
            elif index < len(made):
                used |= allowed

    print(
        f"{len(streams)} streams ({len(made)} made by hand): "
        + ", ".join(f"{n} {what}" for what, n in sorted(seen.items()))
    )
    unused = (set(STRICTER) | set(NO_VERDICT)) - used
    for name in sorted(unused):
        print(f"allowed and never used by a stream made by hand: {name}")
    for kind, detail, stream in found[:20]:
        print(f"{kind}: {detail}\n    {stream!r}")
    failed = len(found) + len(unused)
    print(f"{failed} differences that are not allowed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
