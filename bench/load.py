"""Runs the load generator of bench/load and sends it commands."""

import json
import subprocess

from balancers import on_cpus


class Load:
    def __init__(self, binary, port, cpus=None):
        self.child = subprocess.Popen(
            [binary, f"127.0.0.1:{port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **on_cpus(cpus),
        )

    def open(self, connections):
        """Opens new connections and sets all totals to zero."""
        self.say(f"open {connections}")

    def warm(self, seconds, sessions):
        self.say(f"warm {sessions} {round(seconds * 1000)}")

    def create(self, first, count):
        return self.say(f"create {first} {count}")

    def request_for(self, seconds, sessions):
        return self.say(f"request {sessions} ms {round(seconds * 1000)}")

    def request(self, count, sessions):
        return self.say(f"request {sessions} count {count}")

    def say(self, command):
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline()
        if not answer:
            raise RuntimeError(f"load: {self.child.stderr.read().strip()}")
        return json.loads(answer)

    def stop(self):
        self.child.stdin.close()
        self.child.wait(10)
        self.child.stdout.close()
        self.child.stderr.close()
