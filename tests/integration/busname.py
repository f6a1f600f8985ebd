# SPDX-License-Identifier: LGPL-2.1-or-later
"""A name on the system bus of a test host, held by the test itself; logind's among them."""

import ctypes
import os

LOGIND_POLICY = """<busconfig>
  <policy user="root"><allow own="org.freedesktop.login1"/></policy>
</busconfig>
"""


class BusName:
    """Has a name from now on until close()."""

    def __init__(self, host, name):
        self._systemd = ctypes.CDLL("libsystemd.so.0")
        self._bus = ctypes.c_void_p()
        address = f"unix:path={host.base}/run/dbus/system_bus_socket".encode()
        self.call("sd_bus_new", ctypes.byref(self._bus))
        self.call("sd_bus_set_address", self._bus, address)
        self.call("sd_bus_set_bus_client", self._bus, 1)
        self.call("sd_bus_start", self._bus)
        self.call("sd_bus_request_name", self._bus, name.encode(), ctypes.c_uint64(0))

    def call(self, name, *arguments):
        result = getattr(self._systemd, name)(*arguments)
        if result < 0:
            raise OSError(-result, f"{name}: {os.strerror(-result)}")

    def close(self):
        self._systemd.sd_bus_flush_close_unref.restype = ctypes.c_void_p
        self._systemd.sd_bus_flush_close_unref(self._bus)


class Logind(BusName):
    """What logind says when the host sleeps and wakes up."""

    def __init__(self, host):
        super().__init__(host, "org.freedesktop.login1")

    def prepare_for_sleep(self, begins):
        self.call("sd_bus_emit_signal", self._bus, b"/org/freedesktop/login1",
                  b"org.freedesktop.login1.Manager", b"PrepareForSleep", b"b",
                  ctypes.c_int(begins))
        self.call("sd_bus_flush", self._bus)
