"""Where a server or a page listens."""

import socket

__all__ = ["listening_socket"]


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens: whether the port is free shows before anything is loaded.

    Who comes before the server is there waits.

    Args:
        host: A name or an address.
        port: A port; 0 for any that is free.

    Raises:
        OSError: If there is no such address, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise OSError(f"There is no address {host!r} to listen to: {error}.") from error
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
        sock.listen()  # Two that are only bound would not know of each other.
    except OSError as error:
        sock.close()
        raise OSError(
            f"Cannot listen to {host} at port {port}: {error.strerror}. If another "
            "program does, name another port with --port."
        ) from error
    return sock
