"""Paths that are asked for until they answer.

Owns one thread for each, which ends with the first answer of 2xx or when it is told to.
"""

import threading

_PAUSE_S, _TIMEOUT_S = 0.1, 2.0


class Probe:
    """GET of one path of one port, at 127.0.0.1 and then where other machines reach this one."""

    def __init__(self, port: int, path: str, ip: str) -> None:
        self.answer = ""
        """What it said once it has answered."""
        self._port = port
        self._path = path
        self._hosts = dict.fromkeys(("127.0.0.1", ip or "127.0.0.1"))
        self._is_over = threading.Event()
        threading.Thread(target=self._ask, name=f"probe {port}", daemon=True).start()

    def close(self) -> None:
        """Asks no more; returns at once."""
        self._is_over.set()

    def _ask(self) -> None:
        while not self._is_over.is_set():
            for host in self._hosts:
                status = self._status(host)
                if 200 <= status < 300:
                    self.answer = f"{status} {self._path}"
                    return
            self._is_over.wait(_PAUSE_S)

    def _status(self, host: str) -> int:
        # Every worker is a copy of a process that has imported this module; few ever ask for a path.
        import http.client

        connection = http.client.HTTPConnection(host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", self._path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError):
            return 0
        finally:
            connection.close()
