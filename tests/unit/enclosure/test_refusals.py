"""Which answers of registries pass, in the words of engines that handed them on."""

from __future__ import annotations

import pytest

from modelyard.enclosure.refusals import next_step, passing

AT = 'Get "http://127.0.0.1:5000/v2/": '
PASSING = {
    "received unexpected HTTP status: 503 Service Unavailable": "Service Unavailable",
    "received unexpected HTTP status: 500 Internal Server Error": "Internal Server Error",
    "received unexpected HTTP status: 502 Bad Gateway": "Bad Gateway",
    "unexpected status from HEAD request to https://r/v2/a/manifests/1: 504 Gateway Timeout": "Gateway Timeout",
    "toomanyrequests: You have reached your pull rate limit.": "toomanyrequests",
    "unexpected status code [manifests 1]: 429 Too Many Requests": "Too Many Requests",
    "error parsing HTTP 429 response body: invalid character '<'": "HTTP 429",
    f"{AT}dial tcp 127.0.0.1:5000: connect: connection refused": "connection refused",
    f"{AT}read tcp 127.0.0.1:34440->127.0.0.1:5000: read: connection reset by peer": "connection reset",
    f"{AT}EOF": "EOF",
    "unexpected EOF": "unexpected EOF",
    f"{AT}dial tcp 10.0.0.1:5000: i/o timeout": "i/o timeout",
    f"{AT}net/http: TLS handshake timeout": "handshake timeout",
    f"{AT}net/http: request canceled (Client.Timeout exceeded while awaiting headers)": "Client.Timeout exceeded",
    "lookup r on 10.0.0.2:53: server misbehaving": "server misbehaving",
    "lookup r: Temporary failure in name resolution": "Temporary failure in name resolution",
}
DEFINITE = (
    "manifest for 127.0.0.1:5000/a:1 not found: manifest unknown: manifest unknown",
    "manifest for 127.0.0.1:5000/unavailable:1 not found: manifest unknown",
    "pull access denied for a, repository does not exist or may require 'docker login'",
    f"{AT}unauthorized: authentication required",
    f"{AT}no basic auth credentials",
    "error parsing HTTP 403 response body: invalid character '<'",
    "invalid reference format: repository name must be lowercase",
    "invalid tag format",
    "lookup nohost.invalid on 10.0.0.2:53: no such host",
    "no space left on device",
    f"{AT}x509: certificate signed by unknown authority",
)


@pytest.mark.parametrize(("why", "way"), PASSING.items())
def test_registry_that_is_away_is_known_by_its_words(why: str, way: str) -> None:
    assert passing(why) == way
    assert "see that the node reaches 127.0.0.1:5000" in next_step(why, "127.0.0.1:5000/a:1", is_known=True)


@pytest.mark.parametrize("why", DEFINITE)
def test_definite_answer_is_none_that_passes(why: str) -> None:
    assert passing(why) == ""
