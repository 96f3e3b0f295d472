"""Compares whole load balancers: interleaved rounds, medians and quartiles. Called by bench/run."""

import argparse
import datetime
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import instructions
import report
from balancers import Backend, contestants, start
from load import Load

QUICK = {
    "rounds": 60,
    "starts": 1,
    "seconds": 0.06,
    "scenarios": [(1_000, 1), (100_000, 1), (1_000, 2)],
    "counted": [1_000],
}
FULL = {
    "rounds": 100,
    "starts": 4,
    "seconds": 0.06,
    "scenarios": [(1_000, 1), (1_000_000, 1), (1_000, 2), (1_000_000, 2)],
    "counted": [1_000, 1_000_000],
}
BENCH = Path(__file__).parent
CONNECTIONS = 64
# How long, in seconds, a turn has load before it is measured. The other balancers have replaced this one's
# code, connections and page tables in the caches; meanwhile the caches fill again. Measured in two runs
# with a million sessions, as the excess over round robin:
#   3 ms of lead-in, 10 ms measured:  nginx's own sticky 42 and 45 %, sticky_learn 3.3 and 4.8 %
#   60 ms of lead-in, 60 ms measured: nginx's own sticky 36 and 38 %, sticky_learn 2.0 and 3.2 %
LEAD_IN = 0.06
# The addresses of a process's code and memory decide how well it uses the caches, for as long as it lives
# (two round robins in one run: 0.9 % apart). So workers are replaced every so many rounds. Everything is
# restarted a few times in a run, because workers inherit the addresses of code, configuration and zones
# from their master. New workers use sessions before they are measured, a second for a million sessions:
# the zone is kept, but a new worker's page tables are empty.
ROUNDS_OF_WORKERS = 25
WARMING = 1e-6
LEAST_WARMING = 0.1
CREATING_ROUNDS = 10
# A turn that creates fewer sessions is too short to be measured.
LEAST_CREATED = 5_000
# Round robin keeps no sessions: a sample of the same requests is enough to measure their cost.
SAMPLE = LEAST_CREATED


def say(text):
    print(text, file=sys.stderr, flush=True)


def share_cpus(workers):
    """CPUs for the balancer's workers, and those for everything else; None, None if there are too few."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) <= workers:
        return None, None
    return set(cpus[:workers]), set(cpus[workers:])


class Turn:
    """One balancer's part of a round: requests and their CPU time."""

    def __init__(self, server, load):
        self.server, self.load = server, load
        load.open(CONNECTIONS)

    def do(self, work):
        before = self.server.cpu_ns()
        self.outcome = work()
        self.cpu_ns = self.server.cpu_ns() - before

    def use(self, seconds, sessions):
        self.load.warm(LEAD_IN, sessions)
        self.do(lambda: self.load.request_for(seconds, sessions))

    def result(self):
        requests = self.outcome["requests"]
        return self.outcome | {
            "cpu_us": self.cpu_ns / 1000 / requests,
            "per_second": requests / self.outcome["seconds"],
        }


def run_scenario(balancers, args, sessions, workers, directory):
    """Runs all rounds, an equal part of them after each start."""
    results = {b.name: {"created": [], "used": []} for b in balancers}
    order = random.Random(1)
    for number in range(args.starts):
        rounds = range(args.rounds * number // args.starts, args.rounds * (number + 1) // args.starts)
        run_start(balancers, args, sessions, workers, directory, rounds, order, results)
    pinned = share_cpus(workers)[0] is not None
    return {"sessions": sessions, "workers": workers, "pinned": pinned, "balancers": results}


def run_start(balancers, args, sessions, workers, directory, rounds, order, results):
    """Runs all balancers at once. They take turns: only one gets requests at a time. Adds to results."""
    own_cpus, other_cpus = share_cpus(workers)
    backend = Backend(args.nginx, directory, max(1, len(other_cpus) - 1) if other_cpus else 1, other_cpus)
    running = {}
    try:
        for b in balancers:
            server = start(b, backend, directory, workers, sessions, own_cpus)
            running[b.name] = (server, Load(args.load, server.port, other_cpus))

        bounds = [sessions * i // CREATING_ROUNDS for i in range(CREATING_ROUNDS + 1)]
        for number, (first, end) in enumerate(zip(bounds, bounds[1:])):
            for b in rotated(balancers, number):
                count = end - first if b.sticky else min(end - first, SAMPLE)
                turn = Turn(*running[b.name])
                turn.do(lambda: turn.load.create(first, count))
                if count >= LEAST_CREATED:
                    results[b.name]["created"].append(turn.result())

        # Now, since these workers have filled the zone and so have all of its used pages mapped.
        for b in balancers:
            resident, shared = running[b.name][0].memory()
            results[b.name]["resident"] = resident
            results[b.name]["shared"] = shared

        families = [[b for b in balancers if b.baseline == base] for base in dict.fromkeys(b.baseline for b in balancers)]

        for number in rounds:
            if (number - rounds.start) % ROUNDS_OF_WORKERS == 0:
                for server, load in running.values():
                    load.open(0)
                    server.replace_workers()
                    load.open(CONNECTIONS)
                    load.warm(max(LEAST_WARMING, sessions * WARMING), sessions)
            for family in rotated(families, number):
                for b in order.sample(family, len(family)):
                    turn = Turn(*running[b.name])
                    turn.use(args.seconds, sessions)
                    results[b.name]["used"].append(turn.result())

    finally:
        for server, load in running.values():
            load.stop()
            server.stop()
        backend.stop()


def rotated(items, number):
    """The items, beginning with another one for each number, so that none is always the first."""
    start = number % len(items)
    return items[start:] + items[:start]


def count_instructions(balancers, args, sessions, directory):
    """Counts as many balancers at once as there are cores: other load does not change the counts."""
    backend = Backend(args.nginx, directory, 1)

    def count(b):
        say(f"instructions with {sessions:,} sessions: {b.title}")
        keep = args.out / f"{b.name}-{sessions}.callgrind"
        try:
            return b.name, instructions.count(b, backend, directory, args.load, sessions, keep)
        except Exception as error:
            say(f"{b.title}, not counted: {error}")
            return b.name, None

    # A balancer without sessions is counted once: their number makes no difference to it.
    wanted = [b for b in balancers if b.sticky or sessions == args.counted[0]]
    try:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return {name: counted for name, counted in pool.map(count, wanted) if counted}
    finally:
        backend.stop()


def parse_arguments():
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five minutes instead of over half an hour: fewer rounds, at most 100,000 sessions")
    parser.add_argument("--rounds", type=int, help="rounds to take medians of")
    parser.add_argument("--starts", type=int, help="how often all balancers are started in those rounds")
    parser.add_argument("--seconds", type=float, help="how long each balancer is measured in a round")
    parser.add_argument("--scenarios", type=scenarios, metavar="NxW,NxW", help="live sessions x workers")
    parser.add_argument("--counted", type=numbers, metavar="N,N", help="live sessions while callgrind counts")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="some of the balancers, and round robin of the same binaries; names as in raw.json")
    parser.add_argument("--no-instructions", action="store_true", help="without callgrind")
    parser.add_argument("--no-times", action="store_true", help="callgrind only")
    parser.add_argument("--out", type=Path, help="folder of the results; default: bench/results, or build/bench with --only, --no-times or --no-instructions")
    # Passed by bench/run.
    for name in ("load", "nginx", "module", "newer", "newer-module", "haproxy", "command", "revision"):
        parser.add_argument(f"--{name}", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    mode = QUICK if args.quick else FULL
    args.rounds = args.rounds or mode["rounds"]
    # Each start has at least one round.
    args.starts = max(1, min(args.starts or mode["starts"], args.rounds))
    args.seconds = args.seconds or mode["seconds"]
    args.scenarios = [] if args.no_times else args.scenarios or mode["scenarios"]
    args.counted = [] if args.no_instructions else args.counted or mode["counted"]
    if not args.out:
        # Results in git have all balancers, times and instructions.
        is_part = args.only or args.no_times or args.no_instructions
        args.out = BENCH.parent / "build/bench" if is_part else BENCH / "results"
    return args


def numbers(text):
    return [int(word.replace("_", "")) for word in text.split(",")]


def scenarios(text):
    return [tuple(numbers(word.replace("x", ","))) for word in text.split(",")]


def main():
    # Runs the `finally` clauses, which stop the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    args = parse_arguments()
    balancers = contestants(
        args.nginx, args.module, args.newer, args.newer_module, args.haproxy.split(":") if args.haproxy else []
    )
    wanted = set(filter(None, args.only.split(",")))
    if unknown := wanted - {b.name for b in balancers}:
        sys.exit(f"no balancer {', '.join(sorted(unknown))}; there are {', '.join(b.name for b in balancers)}")
    baselines = {b.baseline for b in balancers if b.name in wanted}
    balancers = [b for b in balancers if not wanted or b.name in wanted | baselines]
    args.out.mkdir(exist_ok=True)
    begin = time.time()
    results = {
        "command": args.command,
        "revision": args.revision,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": report.machine(),
        "rounds": args.rounds,
        "starts": args.starts,
        "seconds": args.seconds,
        "lead_in": LEAD_IN,
        "rounds_of_workers": ROUNDS_OF_WORKERS,
        "connections": CONNECTIONS,
        "load_before": os.getloadavg(),
        "titles": {b.name: b.title for b in balancers},
        "baselines": {b.name: b.baseline for b in balancers},
        "instructions": {},
        "scenarios": [],
    }
    directory = Path(tempfile.mkdtemp(prefix="sticky-bench-"))
    try:
        # nginx's workers do not run as root.
        directory.chmod(0o755)
        if args.counted and not shutil.which("valgrind"):
            say("no valgrind: instructions are not counted")
            args.counted = []
        for sessions in args.counted:
            results["instructions"][str(sessions)] = count_instructions(balancers, args, sessions, directory)
        for sessions, workers in args.scenarios:
            say(f"{sessions:,} sessions, {workers} worker(s): {len(balancers)} balancers, {args.rounds} rounds, {args.starts} start(s)")
            results["scenarios"].append(run_scenario(balancers, args, sessions, workers, directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    results["load_after"] = os.getloadavg()
    results["minutes"] = (time.time() - begin) / 60
    (args.out / "raw.json").write_text(json.dumps(results, indent=1))
    text = report.summary(results)
    (args.out / "summary.md").write_text(text)
    report.plot(results, args.out)
    print(text)


if __name__ == "__main__":
    main()
