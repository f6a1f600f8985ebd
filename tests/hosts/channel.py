# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test's own line into a guest: an agent on a port that libvirt doesn't know of.

By it a test reads the guest's clock, and runs commands there, independently of libvirt's agent
and of all that is under test.
"""

import json
import socket
import time

# An exchange that took no longer than this is as good as any.
QUICK_NS = 2_000_000


class Channel:
    """One connection to the agent on the port org.timehandoff.test.0 of a running guest."""

    def __init__(self, path, deadline_s=10.0):
        """Connects and waits until the agent answers; raises TimeoutError when it doesn't."""
        end = time.monotonic() + deadline_s
        self._socket = socket.socket(socket.AF_UNIX)
        self._buffer = b""
        try:
            while self._socket.connect_ex(str(path)) != 0:
                if time.monotonic() > end:
                    raise TimeoutError(f"nothing listens at {path}")
                time.sleep(0.02)
            self._sync(end)
        except BaseException:
            self._socket.close()
            raise

    def _sync(self, end):
        """Finds the answer to our own question among what an earlier client left behind."""
        number = time.monotonic_ns() & 0xffffffff
        question = {"execute": "guest-sync", "arguments": {"id": number}}
        # The stray byte makes the agent forget half a question of an earlier client.
        self._socket.sendall(b"\xff" + json.dumps(question).encode() + b"\n")
        while self._answer(end - time.monotonic()).get("return") != number:
            pass

    def _answer(self, left_s):
        end = time.monotonic() + left_s
        while b"\n" not in self._buffer:
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the guest's channel was closed")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def ask(self, command, deadline_s=10.0, **arguments):
        """Sends one command and returns what it returns; RuntimeError if the agent refuses."""
        question = {"execute": command}
        if arguments:
            question["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self._socket.sendall(json.dumps(question).encode() + b"\n")
        answer = self._answer(deadline_s)
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error'].get('desc')}")
        return answer["return"]

    def is_served(self, deadline_s=0.3):
        """Whether the agent answers in time."""
        try:
            self.ask("guest-ping", deadline_s)
            return True
        except (OSError, ValueError):
            return False

    def reading(self, samples=12):
        """(offset_s, bound_s): guest minus machine clock, from the exchange of least delay.

        On a busy machine it goes on, within reason, until one exchange was quick.
        """
        best = None
        for count in range(20 * samples):
            if count >= samples and best[1] < QUICK_NS:
                break
            before_ns = time.time_ns()
            guest_ns = self.ask("guest-get-time")
            after_ns = time.time_ns()
            trip_ns = after_ns - before_ns
            if best is None or trip_ns < best[1]:
                # The agent cuts to whole microseconds: on average it is half of one later.
                best = (guest_ns + 500 - (before_ns + after_ns) / 2, trip_ns)
        return best[0] / 1e9, (best[1] / 2 + 500) / 1e9

    def close(self):
        self._socket.close()
