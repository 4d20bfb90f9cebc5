"""A bad network in front of an address, changeable while it is in use: drives tests/instruments/impair (what it does is said there).

    with Impair("127.0.0.1:8080") as line:
        client.connect(line.address)
        line.both(delay_ms=40, jitter_ms=10)
        line.down(rate_kbps=4000, loss=0.01)
        line.partition()
        line.heal()

Every call returns when what it asked for is in force. `up` is towards the target.
"""

import json
import subprocess

import harness


class Impair:
    def __init__(self, target, listen="127.0.0.1:0"):
        self._process = subprocess.Popen([harness.INSTRUMENTS / "impair", listen, target], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        word, _, self.address = self._process.stdout.readline().rstrip().partition(" ")
        assert word == "listen", f"impair {listen} {target} does not listen"

    def _do(self, command):
        print(command, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline().rstrip("\n")
        assert answer and not answer.startswith("error"), f"impair: {command}: {answer or 'it is gone'}"
        return answer

    def _set(self, direction, settings):
        self._do(" ".join([direction, *(f"{name}={value}" for name, value in settings.items())]))

    def up(self, **settings):
        """delay_ms, jitter_ms, rate_kbps, queue_ms, loss (a probability), loss_ms, stall: those not named stay as they are."""
        self._set("up", settings)

    def down(self, **settings):
        self._set("down", settings)

    def both(self, **settings):
        self._set("both", settings)

    def stall(self):
        """Nothing passes; connections are made and stay."""
        self.both(stall=1)

    def go_on(self):
        self.both(stall=0)

    def partition(self):
        """Nothing passes, and who connects gets no answer."""
        self._do("partition on")

    def heal(self):
        self._do("partition off")

    def refuse(self):
        """Who connects is refused; connections that are there go on."""
        self._do("refuse on")

    def admit(self):
        self._do("refuse off")

    def reset(self):
        """Every connection, at both ends."""
        self._do("reset")

    def clear(self):
        """No impairment any more."""
        self._do("clear")

    def stats(self):
        """{"connections", "accepted", "up": {"bytes", "queued", "lost"}, "down": …}"""
        return json.loads(self._do("stats"))

    @property
    def url(self):
        return f"http://{self.address}"

    def close(self):
        """It ends with its stdin."""
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
