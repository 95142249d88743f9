#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# tornado_line_echo.py: a line echo on Tornado, the model of Squall's interface.
#
# Takes one optional argument, the port (0 or none: any free one), listens on loopback only, says where, and
# ends with status 0 on SIGTERM; with certificate and key behind it, it speaks TLS. The interpreter is the
# distribution's, as is the Tornado that it finds.
import asyncio
import resource
import signal
import ssl
import sys

from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.tcpserver import TCPServer


class LineEcho(TCPServer):
    async def handle_stream(self, stream, address):
        stream.set_nodelay(True)
        try:
            while True:
                await stream.write(await stream.read_until(b"\n"))
        except StreamClosedError:
            pass


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tls_options(certificate, key):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def serve(port, ssl_options):
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    sockets = bind_sockets(port, "127.0.0.1")
    server = LineEcho(ssl_options=ssl_options)
    server.add_sockets(sockets)
    print(f"listening on 127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)
    await terminated.wait()
    server.stop()


def main():
    arguments = sys.argv[1:]
    if len(arguments) not in (0, 1, 3) or not all(argument.isdecimal() for argument in arguments[:1]):
        sys.exit(f"usage: {sys.argv[0]} [PORT [CERTIFICATE KEY]]")
    raise_descriptor_limit()
    ssl_options = tls_options(*arguments[1:]) if len(arguments) == 3 else None
    asyncio.run(serve(int(arguments[0]) if arguments else 0, ssl_options))


if __name__ == "__main__":
    main()
