"""`portico api --check`. Loads only the standard library until it fails: health checks ask every few seconds."""

import socket

_ANSWER_WITHIN = 3.0


def reachable_host(host: str) -> str:
    """Return the host to connect to: what listens on every address listens on the loopback one."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared


def is_alive(host: str, port: int) -> bool:
    """Return whether the API that listens there answers `/livez` with 200 within a few seconds.

    Not `/readyz`: an engine that restarts unhealthy containers must not restart them because a server is down.
    """
    try:
        with socket.create_connection((reachable_host(host), port), timeout=_ANSWER_WITHIN) as api:
            api.sendall(b"GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return b" 200 " in api.recv(64)
    except OSError:
        return False


def check_api(*, host: str | None, port: int | None, json: bool) -> None:
    """Raise `NoApiAnswers` unless the API answers at the address of the settings, or at the given one."""
    import bootstrap  # noqa: PLC0415 - see above
    from entrypoints.cli import console  # noqa: PLC0415
    from entrypoints.cli.errors import NoApiAnswers  # noqa: PLC0415

    http = bootstrap.load_settings().http
    host, port = reachable_host(host or http.host), http.port if port is None else port
    answers = is_alive(host, port)
    if json:
        console.show_json({"host": host, "port": port, "answers": answers})
    if not answers:
        raise NoApiAnswers(host, port)
    if not json:
        console.show(f"The API answers at port {port} of {host}")
