"""Follow the redirects of web servers only to where they may lead, and without credentials to other hosts.

What a server on the internet answers must not make Evergreen ask a service of this machine or of the network around it.
Whether it would is decided by the address that is connected to, however the redirect writes it.
"""

import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from evergreen.core.errors import DataError

NAT64 = ipaddress.ip_network("64:ff9b::/96")  # the last 32 bits are an IPv4 address
METADATA = {"fd00:ec2::254", "100.100.100.200", "192.0.0.192"}  # of clouds, beside those that are link-local
PORTS = {"http": 80, "https": 443}
FORBIDDEN = "forbidden"


def zone_of(address: str) -> str:
    """Return where an IP address lies: "public", "private", "loopback", or "forbidden", where no redirect may lead."""
    ip: Any = ipaddress.ip_address(address.partition("%")[0])
    if ip.version == 6:
        nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in NAT64 else None
        ip = ip.ipv4_mapped or ip.sixtofour or nat64 or (ip.teredo or [ip])[-1]
    if ip.is_loopback or ip.is_unspecified:
        return "loopback"
    if ip.is_link_local or ip.is_multicast or str(ip) in METADATA:
        return FORBIDDEN
    return "public" if ip.is_global and not getattr(ip, "is_site_local", False) else "private"


def resolve(host: str, port: int | None = None) -> list[str]:
    """Return the IP addresses of a host, written in any form that a connection would take."""
    return list(dict.fromkeys(str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def check_step(before: str, host: str, addresses: list[str], place: str, *, private: bool) -> None:
    """Raise DataError for a redirect from a zone to a host of these addresses that may not be followed."""
    for address in addresses:
        zone = zone_of(address)
        if zone == FORBIDDEN or not (private or zone in ("public", before)):
            where = "this machine" if zone == "loopback" else "a network that is not public"
            hint = "where that is meant, write collect.private_redirects: true"
            fix = "check the address" if zone == FORBIDDEN else hint
            raise DataError(f"it redirects to {host}, which is an address of {where}", place=place, fix=fix)


def check_schemes(before: str, after: str, place: str) -> None:
    """Raise DataError for a redirect from https to anything else, or to what is no web page."""
    if after not in PORTS or (before, after) == ("https", "http"):
        problem = f"it redirects from {before} to {after or 'nothing'}"
        raise DataError(problem, place=place, fix="write the address that it should be read from")


class Route(HTTPRedirectHandler):
    """One request and its redirects: it knows where the last answer came from."""

    def __init__(self, place: str, *, private: bool) -> None:
        """Name the source as messages do; `private` allows redirects to addresses of this network."""
        self.place, self.private, self.zone = place, private, ""

    def opener(self) -> OpenerDirector:
        """Return what opens requests by this route."""
        return build_opener(self, _Opener(self))

    def connect(self, address: tuple[str, int], *options: Any) -> socket.socket:
        """Connect to the first address of a host that answers, if it may be asked."""
        found = resolve(*address)
        if self.zone:
            check_step(self.zone, address[0], found, self.place, private=self.private)
        failure: OSError = ConnectionError(f"{address[0]} has no address")
        for ip in found:
            try:
                connected = socket.create_connection((ip, address[1]), *options)
            except OSError as error:
                failure = error
            else:
                self.zone = zone_of(ip)
                return connected
        raise failure

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        """Return the request to follow, with credentials only where it goes to the same host."""
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        check_schemes(before.scheme, after.scheme, self.place)
        if _is_proxied(req):  # who connects is the proxy
            host, self.zone = str(after.hostname), ""
            with suppress(socket.gaierror):
                check_step("public", host, resolve(host), self.place, private=self.private)
        plain = urlunsplit(after._replace(netloc=after.netloc.rpartition("@")[2]))
        request = super().redirect_request(req, fp, code, msg, headers, plain)
        if request:
            request.headers.pop("Proxy-authorization", None)  # set anew where the next request needs it
            if (login := req.unredirected_hdrs.get("Authorization")) and _is_same_host(before, after):
                request.add_unredirected_header("Authorization", login)
        return request


class _Opener(HTTPHandler, HTTPSHandler):
    def __init__(self, route: Route) -> None:
        super().__init__()
        self.route = route

    def http_open(self, req: Request) -> Any:
        return self.do_open(_connecting(HTTPConnection, self.route, req), req)

    def https_open(self, req: Request) -> Any:
        return self.do_open(_connecting(HTTPSConnection, self.route, req), req)


def _connecting(kind: Any, route: Route, request: Request) -> Callable[..., Any]:
    def connection(host: str, **options: Any) -> Any:
        made = kind(host, **options)
        if not _is_proxied(request):
            made._create_connection = route.connect
        return made

    return connection


def _is_proxied(request: Any) -> bool:
    return bool(request.has_proxy() or request._tunnel_host)


def _is_same_host(before: SplitResult, after: SplitResult) -> bool:
    """Tell whether an address is of the same server as another; one that http leads to https is."""
    ports = [part.port or PORTS[part.scheme] for part in (before, after)]
    return before.hostname == after.hostname and (ports[0] == ports[1] or ports == [80, 443])
