"""Streams of requests: valid ones to mutate, and ones made by hand to be read in two ways."""

HOST = b"Host: a\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"

VALID = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a/b%20c?d=e&f HTTP/1.1\r\nHost: example.org:8080\r\nAccept: */*\r\nX-Empty:\r\n\r\n",
    b"HEAD /x HTTP/1.1\r\nHost: a\r\nUser-Agent: b/1.0 (c; d)\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://b:81/c?d HTTP/1.1\r\nHost: a\r\n\r\n",
    b"DELETE /x HTTP/1.1\r\nHost: [::1]:80\r\nConnection: keep-alive\r\n\r\n",
    b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /old HTTP/1.0\r\n\r\n",
    b"GET /old HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    b"PUT /b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"PATCH /b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=d\r\nCookie: e=\xc3\xa4\r\nX: \t y \t\r\n\r\n",
    LONG,
    CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    CHUNKED + b'A;x=y;z="q\\"r"\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-Two: 2\r\n\r\n',
    CHUNKED + b"0\r\n\r\n",
    LONG + NEXT,
    CHUNKED + b"2\r\nab\r\n0\r\n\r\n" + NEXT,
    NEXT + LONG + NEXT,
]


def head(line=b"GET / HTTP/1.1", *fields, host=HOST, body=b""):
    return line + b"\r\n" + host + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def post(*fields, body=b""):
    return head(b"POST / HTTP/1.1", *fields, body=body)


def lines():
    """Request lines."""
    for line in [
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1\t",
        b"GET HTTP/1.1",
        b"GET /",
        b"GET",
        b"",
        b"/ HTTP/1.1",
        b"GET / HTTP/1",
        b"GET / HTTP/01.1",
        b"GET / http/1.1",
        b"GET / HTTP/ 1.1",
        b"GET / HTTP/1.10",
        b"GET / HTTP/1.2",
        b"GET / HTTP/1.9",
        b"GET / HTTP/2.0",
        b"GET / HTTP/0.9",
        b"GET / HTTP/3.0",
        b"GET / HTTP/9.9",
        b"GET / HTP/1.1",
        b"GET / XHTTP/1.1",
        b"GET / HTTP/1.1x",
        b"GET / HTTP/1,1",
        b"GET / HTTP/-1.1",
        b"G@T / HTTP/1.1",
        b"GET: / HTTP/1.1",
        b"GET\0 / HTTP/1.1",
        b"get / HTTP/1.1",
        b"SLUDGE / HTTP/1.1",
        b"TRACE / HTTP/1.1",
        b"CONNECT h:443 HTTP/1.1",
        b"CONNECT / HTTP/1.1",
        b"CONNECT h HTTP/1.1",
        b"GET h:443 HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET x HTTP/1.1",
        b"GET /\0 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\xc3\xa4 HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET /a\\b HTTP/1.1",
        b'GET /a"b HTTP/1.1',
        b"GET /a<b> HTTP/1.1",
        b"GET /a`b HTTP/1.1",
        b"GET /{a}|b^[c] HTTP/1.1",
        b"GET /?a?b HTTP/1.1",
        b"GET http:///x HTTP/1.1",
        b"GET http://u@h/x HTTP/1.1",
        b"GET https://h/ HTTP/1.1",
        b"GET ftp://h/ HTTP/1.1",
        b"GET http:/h HTTP/1.1",
        b"GET HTTP://H HTTP/1.1",
        b"GET http://h?q HTTP/1.1",
        b"OPTIONS http://h HTTP/1.1",
        b"GET //h/x HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"GET\x0b/ HTTP/1.1",
        b"GET /\x0cHTTP/1.1",
        b"\xef\xbb\xbfGET / HTTP/1.1",
        b"M-SEARCH * HTTP/1.1",
    ]:
        yield head(line)
    yield b"\r\n" + NEXT
    yield b"\r\n\r\n\r\n" + NEXT
    yield b"\r\n" * 6 + NEXT
    yield b"\n" + NEXT
    yield b"\r" + NEXT
    yield LONG + b"\r\n" + NEXT
    yield b"GET / HTTP/1.1\nHost: a\n\n"
    yield b"GET / HTTP/1.1\r\nHost: a\r\n\n"
    yield b"GET / HTTP/1.1\rHost: a\r\r"
    yield b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"
    yield b"GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n"
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def fields():
    """Field lines, hosts among them."""
    for field in [
        b"Name : v",
        b"Name\t: v",
        b" Name: v",
        b"\tName: v",
        b": v",
        b":",
        b"Name",
        b"Na me: v",
        b"X: va\rlue",
        b"X: va\nlue",
        b"X: a\r\n b",
        b"X: a\r\n\tb",
        b"X: \x00",
        b"X: a\x07b",
        b"X: a\x0bb",
        b"X: a\x0cb",
        b"X: a\x7fb",
        b"X:\xa0y",
        b"X: y\x85",
        b"X\xe4: y",
        b"X(: y",
        b"X/Y: z",
        b'X"Y: z',
        b"X[]: z",
        b"X{}: z",
        b"X@: z",
        b"X=: z",
        b"X: ",
        b"X:",
        b"X:y",
        b"X: \t y\t ",
        b"\x00X: y",
        b"X\x00: y",
        b"Transfer-\r\nEncoding: chunked",
        b"Content-Length\r\n: 5",
        b"Content-Length: 5\r\n 0",
        b"X: y\r",
        b"X: y\r\r",
        b"Connection: \x0bclose",
        b"Connection: close, keep-alive",
        b"Connection: ,,close",
        b"Connection: closed",
        b'Connection: "close"',
        b"Expect: a teapot",
        b"Expect: 100-continue, x",
        b"Upgrade: h2c",
        b"Connection: upgrade",
        b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
    ]:
        yield head(b"GET / HTTP/1.1", field) + NEXT
        yield b"GET / HTTP/1.1\r\n" + field + b"\r\nHost: a\r\n\r\n" + NEXT
    for host in [
        b"Host: a b",
        b"Host: a/b",
        b"Host: u@h",
        b"Host: a, b",
        b"Host: [::1",
        b"Host: h:98777",
        b"Host: h:1:2",
        b"Host: ..x",
        b"Host: h\x02",
        b"Host:",
        b"Host: ",
        b"Host: h.",
        b"Host: h:",
        b"Host: [::1]:80",
        b"Host: a\\b",
        b"Host: a?b",
        b"Host: a#b",
        b"Host: a%2fb",
        b"Host: a%20",
        b"Host: a%41",
        b"Host: a_b",
        b"Host: \xc3\xa4",
        b"Host: a\r\nHost: a",
        b"Host: a\r\nHost: b",
        b"Host: a\r\nhost: b",
        b"Hos: a",
        b"Host : a",
        b"Host: h:0x50",
        b"Host: h:+80",
        b"Host: h: 80",
        b"Host: [v1.x]",
        b"Host: <a>",
        b"Host: 1.2.3.4",
        b"Host: a;b",
    ]:
        yield head(b"GET / HTTP/1.1", host=host + b"\r\n") + NEXT


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
ENDED = b"0\r\n\r\n" + SMUGGLED


def framing():
    """Where a body ends."""
    te, cl = b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(ENDED)
    for both in [
        (te, cl),
        (cl, te),
        (te, b"Content-Length: 5"),
        (b"Content-Length: 0", te),
        (b"content-length: 5", b"transfer-encoding: chunked"),
    ]:
        yield post(*both, body=ENDED)
    for value in [
        b"-1",
        b"-0",
        b"+5",
        b"0x5",
        b"0o5",
        b"5_0",
        b"1 0",
        b"5a",
        b"1Z",
        b"1e3",
        b"",
        b" ",
        b"5 ",
        b"\t5",
        b"5,5",
        b"5, 5",
        b"5,6",
        b"5;",
        b"05",
        b"00000000000000000005",
        b"5.0",
        b"\x0b5",
        b"5\x0b",
        b"5\x00",
        b"\xb2",
        b'"5"',
        b"18446744073709551616",
        b"18446744073709551621",
        b"9223372036854775808",
        b"4294967301",
        b"9" * 40,
        b"0" * 40 + b"5",
        b"1" * 19,
        b"\xd9\xa5",
    ]:
        yield post(b"Content-Length: " + value, body=b"hello") + SMUGGLED
        yield head(b"GET / HTTP/1.1", b"Content-Length: " + value, body=b"hello") + SMUGGLED
    for lines in [
        (b"Content-Length: 5", b"Content-Length: 5"),
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length: 5", b"content-length: 0"),
        (b"Content-Length: 5", b"Content-Length:"),
        (b"Content-Length: 5", b"Content-Length : 0"),
        (b"Content_Length: 5",),
        (b"Content-Length 5",),
        (b"Content-Length:5",),
        (b"CONTENT-LENGTH: 5",),
        (b"Content-Length\x00: 5",),
        (b"Content-Length\xa0: 5",),
        (b"X-Content-Length: 5",),
        (b"Content-Lengt: 5",),
        (b"Content-Length: 5\r\nX: y\r\nContent-Length: 5",),
    ]:
        yield post(*lines, body=b"hello") + SMUGGLED
    for value in [
        b"gzip",
        b"identity",
        b"xchunked",
        b"chunkedx",
        b"blegh",
        b"chunked, gzip",
        b"gzip, chunked",
        b"chunked, chunked",
        b"chunked,chunked",
        b",chunked",
        b"chunked,",
        b", chunked",
        b"",
        b"\x0bchunked",
        b"\x0cchunked",
        b"chunked\x00",
        b'"chunked"',
        b"'chunked'",
        b"chunked;a=b",
        b"chunked; a",
        b"\xa0chunked",
        b"Chunked",
        b"CHUNKED",
        b"chunked ",
        b"\tchunked",
        b" chunked\t",
        b"chunked chunked",
        b"chu nked",
        b"chunked\r\n ",
        b"\r\n chunked",
        b"identity, chunked",
        b"chunked, identity",
        b"chunKed",
        b"c\xcbunked",
        b"\xe2\x84\xaa",
        b"x, chunked",
        b"chunked\x0b",
        b"=chunked",
        b"chunked=1",
    ]:
        yield post(b"Transfer-Encoding: " + value, body=ENDED)
        yield head(b"GET / HTTP/1.1", b"Transfer-Encoding: " + value, body=ENDED)
    for lines in [
        (te, te),
        (te + b"\t", te),
        (te, b"Transfer-Encoding: identity"),
        (b"Transfer-Encoding: identity", te),
        (te, b"Transfer-Encoding:"),
        (b"Transfer-Encoding : chunked",),
        (b"Transfer_Encoding: chunked",),
        (b"Transfer-Encoding:chunked",),
        (b"transfer-encoding: chunked",),
        (b"X: y\r\nTransfer-Encoding: chunked",),
        (b"Transfer-Encoding\x00: chunked",),
        (b" Transfer-Encoding: chunked",),
        (b"X: y\rTransfer-Encoding: chunked",),
        (b"X: y\nTransfer-Encoding: chunked",),
        (b"Foo: bar\r\n\rTransfer-Encoding: chunked",),
        (b"TE: chunked",),
        (b"Trailer: X", te),
        (te, b"Content-Length: abc"),
        (b"Connection: Transfer-Encoding", te),
        (b"Connection: Content-Length", b"Content-Length: 5"),
    ]:
        yield post(*lines, body=ENDED)
    yield CHUNKED + b"0\r\nConnection: close\r\n\r\n" + NEXT
    yield CHUNKED + b"0\r\nConnection: close\r\n\r\n\r\n" + NEXT
    yield head(b"POST / HTTP/1.0", te, body=ENDED)
    yield head(b"POST / HTTP/1.0", te, b"Connection: keep-alive", body=ENDED)
    yield head(
        b"POST / HTTP/1.0", b"Content-Length: 5", b"Connection: keep-alive", body=b"hello"
    ) + SMUGGLED
    yield head(b"POST / HTTP/1.0", body=b"hello")
    for method in [b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"TRACE", b"PUT", b"PATCH"]:
        yield head(method + b" / HTTP/1.1", b"Content-Length: 5", body=b"hello") + SMUGGLED
        yield head(method + b" / HTTP/1.1", te, body=b"5\r\nhello\r\n0\r\n\r\n") + SMUGGLED
    yield head(b"CONNECT h:1 HTTP/1.1") + SMUGGLED
    yield head(b"CONNECT h:1 HTTP/1.1", b"Content-Length: 5", body=b"hello") + SMUGGLED
    yield head(b"GET / HTTP/1.1", b"Connection: close") + SMUGGLED
    yield head(
        b"GET / HTTP/1.1",
        b"Connection: Upgrade",
        b"Upgrade: x",
        b"Content-Length: 5",
        body=b"hello",
    ) + SMUGGLED
    yield head(
        b"GET / HTTP/1.1",
        b"Connection: Upgrade",
        b"Upgrade: x",
        te,
        body=b"5\r\nhello\r\n0\r\n\r\n",
    ) + SMUGGLED
    yield LONG[:-1]
    yield LONG[:-5]


def chunks():
    """Chunked bodies."""
    for body in [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"aA\r\n" + b"x" * 170 + b"\r\n0\r\n\r\n",
        b"0005\r\nhello\r\n000\r\n\r\n",
        b"5;x\r\nhello\r\n0\r\n\r\n",
        b"5;x=y\r\nhello\r\n0;z\r\n\r\n",
        b'5 ; x="q\\"r"\r\nhello\r\n0\r\n\r\n',
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\t\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"5h\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"5,\r\nhello\r\n0\r\n\r\n",
        b"f0000000000000003\r\nabc\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"0" * 15 + b"5\r\nhello\r\n0\r\n\r\n",
        b"0" * 17 + b"5\r\nhello\r\n0\r\n\r\n",
        b"0" * 30 + b"5\r\nhello\r\n0\r\n\r\n",
        b"f" * 16 + b"\r\nx",
        b"7fffffffffffffff\r\nx",
        b"8000000000000000\r\nx",
        b"5\nhello\n0\n\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\rhello\r0\r\r",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\r\r\n0\r\n\r\n",
        b"5\r\nhell\r\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\nhello\r\n\r\n0\r\n\r\n",
        b"5;\r\nhello\r\n0\r\n\r\n",
        b"5;;\r\nhello\r\n0\r\n\r\n",
        b"5;a;b\r\nhello\r\n0\r\n\r\n",
        b"5;bad[=x\r\nhello\r\n0\r\n\r\n",
        b"5;a=\r\nhello\r\n0\r\n\r\n",
        b"5;=b\r\nhello\r\n0\r\n\r\n",
        b'5;a="b\r\nhello\r\n0\r\n\r\n',
        b'5;a="b\nc"\r\nhello\r\n0\r\n\r\n',
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;a\x00\r\nhello\r\n0\r\n\r\n",
        b"5;a\nhello\r\n0\r\n\r\n",
        b"5;a\n5\r\nhello\r\n0\r\n\r\n",
        b"5 x\r\nhello\r\n0\r\n\r\n",
        b"5;a b\r\nhello\r\n0\r\n\r\n",
        b"5;a=b c\r\nhello\r\n0\r\n\r\n",
        b"5;a = b\r\nhello\r\n0\r\n\r\n",
        b"5;\xc3\xa4\r\nhello\r\n0\r\n\r\n",
        b'5;a="\xc3\xa4"\r\nhello\r\n0\r\n\r\n',
        b"0\r\nX: y\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\nbad\r\r\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\n X: y\r\n\r\n",
        b"0\r\nX: a\r\n b\r\n\r\n",
        b"0\r\nX: \x00\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\nHost: b\r\n\r\n",
        b"0\r\n: y\r\n\r\n",
        b"0\r\nX: \x7f\r\n\r\n",
        b"0\r\n\rX",
        b"0 \r\n\r\n",
        b"00\r\n\r\n",
        b"0\r\n",
        b"0",
        b"",
        b"5\r\nhel",
        b"5\r\nhello\r\n",
        b"\r\n\r\n",
        b"0\r\n\n",
        b"0;a\r\nX: y;z\r\n\r\n",
        b"1" + b"\r\na\r\n1\r\nb" * 5 + b"\r\n0\r\n\r\n",
    ]:
        yield CHUNKED + body + SMUGGLED


def limitations():
    """What the others do not read, for reasons of their own."""
    odd = b"SLUDGE / HTTP/1.1\r\nHost: a\r\n\r\n"
    yield b"\r\n" + odd
    yield b"GET /old HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" + odd
    for field in [
        b"Transfer-Encoding: x",
        b"Transfer-Encoding:",
        b"Content-Length: 5",
        b"Content-Length: x",
    ]:
        yield b"\r\n" + CHUNKED + b"0\r\n" + field + b"\r\n\r\n" + NEXT
        yield CHUNKED + b"0\r\n" + field + b"\r\n\r\n" + NEXT
    yield b"\r\n" + head(b"GET / HTTP/1.5") + NEXT
    yield b"\r\n" + post(b"Transfer-Encoding: chunked\t", body=b"0\r\n\r\n") + NEXT
    yield head(
        b"GET / HTTP/1.1",
        b"Connection: Upgrade",
        b"Upgrade: x",
        b"Content-Length: 5",
        body=b"hello",
    ) + b"\r\n" + NEXT


def every_byte():
    """Each byte in each place where it might be taken for none, or for another one."""
    length = b"Content-Length: "
    coding = b"Transfer-Encoding: "
    for byte in range(256):
        byte = bytes([byte])
        yield byte + NEXT
        yield head(b"GET" + byte + b" / HTTP/1.1") + NEXT
        yield head(b"GET " + byte + b"/ HTTP/1.1") + NEXT
        yield head(b"GET /" + byte + b" HTTP/1.1") + NEXT
        yield head(b"GET /?" + byte + b" HTTP/1.1") + NEXT
        yield head(b"GET / HTTP/1.1" + byte) + NEXT
        yield head(host=b"Host: a" + byte + b"b\r\n") + NEXT
        yield head(b"GET / HTTP/1.1", b"X" + byte + b": y") + NEXT
        yield head(b"GET / HTTP/1.1", b"X: y" + byte + b"z") + NEXT
        for made in [byte + b"5", b"5" + byte, b"5" + byte + b"0"]:
            yield post(length + made, body=b"hello") + SMUGGLED
        for made in [
            byte + b"chunked",
            b"chunked" + byte,
            b"chunked" + byte + b"x",
            b"chunked" + byte + b"chunked",
        ]:
            yield post(coding + made, body=ENDED)
        yield post(b"Content-Length" + byte + b": 5", body=b"hello") + SMUGGLED
        yield post(b"Transfer-Encoding" + byte + b": chunked", body=ENDED)
        for size in [
            byte + b"5",
            b"5" + byte,
            b"5" + byte + b";x",
            b"5;x" + byte,
            b"5;x" + byte + b"y",
            b'5;x="' + byte + b'"',
        ]:
            yield CHUNKED + size + b"\r\nhello\r\n0\r\n\r\n" + SMUGGLED
        for end in [byte + b"\n", b"\r" + byte, byte]:
            yield CHUNKED + b"5\r\nhello" + end + b"0\r\n\r\n" + SMUGGLED
            yield CHUNKED + b"5" + end + b"hello\r\n0\r\n\r\n" + SMUGGLED
            yield CHUNKED + b"0\r\n" + end + SMUGGLED
            yield b"GET / HTTP/1.1\r\nHost: a\r\n" + end + SMUGGLED


def all_made():
    for part in (lines, fields, framing, chunks, every_byte, limitations):
        yield from part()


PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b": ",
    b",",
    b";",
    b"=",
    b'"',
    b"\\",
    b"\0",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"0",
    b"5",
    b"-",
    b"+",
    b"f",
    b"0x",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"chunked",
    b", chunked",
    b"identity",
    b"gzip",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 40\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: ",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Host: b\r\n",
    b"X: y\r\n",
    b" folded\r\n",
    b";x=y",
    b";x",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"GET ",
    b"POST ",
    b"http://b",
    b"?",
    b"#",
    b"%00",
    b"%2f",
    b"Expect: 100-continue\r\n",
    b"Upgrade: x\r\n",
    SMUGGLED,
    NEXT,
    LONG,
]


def mutated(random):
    """A stream that differs from valid ones in a few places."""
    stream = bytearray(random.choice(VALID))
    if random.random() < 0.5:
        stream += random.choice(VALID)
    for _ in range(random.choice([1, 1, 1, 2, 3, 5])):
        at = random.randrange(len(stream) + 1)
        lines = bytes(stream).split(b"\r\n")
        line = random.randrange(len(lines))
        kind = random.randrange(9)
        if kind == 0:
            stream[at:at] = random.choice(PIECES)
        elif kind == 1:
            stream[at : at + random.randrange(1, 4)] = b""
        elif kind == 2:
            stream[at : at + 1] = bytes([random.randrange(256)])
        elif kind == 3:
            stream[at : at + 1] = random.choice(PIECES)
        elif kind == 4:
            lines.insert(random.randrange(len(lines)), lines[line])
            stream = bytearray(b"\r\n".join(lines))
        elif kind == 5:
            ends = [b"\r\n"] * (len(lines) - 1) + [b""]
            ends[line - 1] = random.choice(
                [b"\n", b"\r", b"\r\r\n", b"\r\n ", b"\r\n\t", b" \r\n", b"\t\r\n"]
            )
            stream = bytearray(b"".join(a + b for a, b in zip(lines, ends)))
        elif kind == 6:
            lines[line] = random.choice([bytes.upper, bytes.lower, bytes.swapcase])(lines[line])
            stream = bytearray(b"\r\n".join(lines))
        elif kind == 7:
            lines.insert(line, random.choice(PIECES).strip(b"\r\n"))
            stream = bytearray(b"\r\n".join(lines))
        else:
            lines[line] = lines[line].replace(
                b": ", random.choice([b":", b" : ", b":\t", b": , ", b":  "]), 1
            )
            stream = bytearray(b"\r\n".join(lines))
    if random.random() < 0.5:
        stream += SMUGGLED
    return bytes(stream)
