"""The load generator of bench/load, as a process that takes orders."""

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

    def create(self, first, count, connections):
        return self.say(f"create {first} {count} {connections}")

    def request_for(self, seconds, sessions, connections):
        return self.say(f"request {sessions} {connections} ms {round(seconds * 1000)}")

    def request(self, count, sessions, connections):
        return self.say(f"request {sessions} {connections} count {count}")

    def say(self, order):
        self.child.stdin.write(order + "\n")
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
