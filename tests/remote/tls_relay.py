"""Relays TLS connections to a plain port of this machine: python3 tls_relay.py CERTIFICATE KEY PORT

Prints its own port as a line, and exits when its standard input closes.
"""

import os
import select
import socket
import ssl
import sys
import threading


def relay(context, connection, port):
    try:
        with context.wrap_socket(connection, server_side=True) as tls:
            with socket.create_connection(("127.0.0.1", port)) as plain:
                while True:
                    ready = [tls] if tls.pending() else select.select([tls, plain], [], [])[0]
                    for source in ready:
                        data = source.recv(65536)
                        if not data:
                            return
                        (plain if source is tls else tls).sendall(data)
    except OSError:
        pass  # The client does not trust the certificate, or has disconnected.


def main():
    certificate, key, port = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)

    def serve():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=relay, args=(context, connection, int(port)), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    sys.stdin.buffer.read()
    os._exit(0)


main()
