"""An etcd of one's own: on loopback, with its data in a folder.

    etcd = Etcd(folder).start()
    etcd.keys("weir/")          {key: value}, values from JSON
    etcd.kill(); etcd.start()   on the same port, with its data
    etcd.wipe()                 killed, its data removed, started again
"""

import base64
import json
import shutil
import signal
import subprocess

import harness

BINARY = shutil.which("etcd")


def encode(text):
    return base64.b64encode(text.encode()).decode()


def decode(text):
    return base64.b64decode(text).decode()


class Etcd:
    def __init__(self, folder):
        self.folder = folder
        self.address = f"127.0.0.1:{harness.free_port()}"
        self.peer = f"http://127.0.0.1:{harness.free_port()}"

    @property
    def url(self):
        return f"http://{self.address}"

    def start(self):
        with open(self.folder.with_suffix(".log"), "ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "--name", "test", "--data-dir", self.folder, "--listen-client-urls", self.url, "--advertise-client-urls",
                 self.url, "--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer, "--initial-cluster",
                 f"test={self.peer}", "--unsafe-no-fsync", "--log-level", "warn"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        harness.wait_for(self._healthy, 20, "etcd to start")
        return self

    def _healthy(self):
        assert self.process.poll() is None, "etcd has ended"
        try:
            return self.call("kv/range", key=encode("x"))
        except (OSError, AssertionError):
            return None

    def call(self, path, **body):
        answer = harness.http_request(self.address, f"/v3/{path}", "POST", body=json.dumps(body))
        assert answer.status == 200, answer.text
        return answer.json()

    def keys(self, prefix):
        found = self.call("kv/range", key=encode(prefix), range_end=encode(prefix[:-1] + chr(ord(prefix[-1]) + 1)))
        return {decode(entry["key"]): json.loads(decode(entry["value"])) for entry in found.get("kvs", [])}

    def delete(self, key):
        self.call("kv/deleterange", key=encode(key))

    def compact(self):
        self.call("kv/compaction", revision=self.call("kv/range", key=encode("x"))["header"]["revision"], physical=True)

    def refuse_writes(self, on):
        """As when its disk space has run out."""
        self.call("maintenance/alarm", action="ACTIVATE" if on else "DEACTIVATE", alarm="NOSPACE",
                  memberID=self.call("kv/range", key=encode("x"))["header"]["member_id"])

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wipe(self):
        self.kill()
        shutil.rmtree(self.folder)
        return self.start()

    def close(self):
        if hasattr(self, "process") and self.process.poll() is None:
            self.kill()
