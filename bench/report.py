"""Writes the results of a run: summary.md with tables, and a plot."""

import math
import os
import platform
import re
import statistics
from pathlib import Path


def machine():
    cpu = re.search(r"^model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(), re.M)
    memory = int(re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M)[1]) / 1024**2
    virtual = "hypervisor" in Path("/proc/cpuinfo").read_text()
    system = re.search(r'^PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text(), re.M)
    return (
        f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
        f"{', virtual' if virtual else ''}; {system[1] if system else platform.system()}, Linux {platform.release()}"
    )


class Spread:
    """Median, quartiles, and the 95 % interval of the median."""

    def __init__(self, values):
        self.median = statistics.median(values)
        # How many of n values lie below the true median is binomial with p = 1/2: n/2 ± 1.96 √n / 2.
        skipped = max(0, math.floor((len(values) - 1.96 * math.sqrt(len(values))) / 2) - 1)
        self.least, self.most = sorted(values)[skipped], sorted(values, reverse=True)[skipped]
        self.low, _, self.high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3

    def shown(self, form):
        return f"{self.median:{form}} ({self.low:{form}} … {self.high:{form}})"


def spread(rounds, field):
    return Spread([r[field] for r in rounds])


def over_baseline(scenario, name, baseline, field="cpu_us"):
    """The excess over the baseline in the same round, in per cent."""
    own = scenario["balancers"][name]["used"]
    base = scenario["balancers"][baseline]["used"]
    return Spread([(x[field] / y[field] - 1) * 100 for x, y in zip(own, base)])


def table(head, rows):
    align = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, align, *rows])


def scenario_title(scenario):
    workers = scenario["workers"]
    return f"{scenario['sessions']:,} sessions, {workers} worker{'s' if workers > 1 else ''}"


def scenario_table(results, scenario):
    rows = []
    for name, result in scenario["balancers"].items():
        baseline = results["baselines"][name]
        used, created = result["used"], result["created"]
        over = "" if name == baseline else over_baseline(scenario, name, baseline).shown("+.1f") + " %"
        misrouted = sum(r["misrouted"] for r in used)
        routed = sum(r["routed"] for r in used)
        failed = sum(r["failed"] for r in used + created)
        rows.append([
            results["titles"][name],
            spread(used, "cpu_us").shown(".2f"),
            over,
            f"{spread(used, 'per_second').median:,.0f}",
            f"{spread(used, 'p50_ns').median / 1e6:.2f} / {spread(used, 'p99_ns').median / 1e6:.2f}",
            f"{spread(created, 'per_second').median:,.0f}" if created else "",
            f"{result['resident'] / 2**20:.0f} ({result['shared'] / 2**20:.0f})",
            f"{misrouted / routed:.1%}" if misrouted else "0",
            str(failed),
        ])
    head = [
        "", "LB CPU µs/request", "over its round robin", "requests/s", "p50 / p99 ms", "creations/s",
        "worker RSS MiB (shared)", "misrouted", "failed",
    ]
    return table(head, rows)


def instructions_table(results):
    counts = results["instructions"]
    added = added_instructions(results)
    rows = []
    for name, title in results["titles"].items():
        row, idle = [title], ""
        for sessions in counts:
            count = counts[sessions].get(name)
            more = added.get((name, int(sessions)))
            row.append(f"{count['per_request']:,.0f}" if count else "")
            row.append("" if more is None else f"{more:+,.0f}")
            if count:
                idle = f"{count['idle_per_second']:,.0f}"
        if idle:
            rows.append([*row, idle])
    head = [""]
    for sessions in counts:
        head += [f"{int(sessions):,} sessions", "over round robin"]
    return table([*head, "idle, per second"], rows)


def added_instructions(results):
    """Instructions over the baseline, by name and sessions. The baselines themselves are left out."""
    added = {}
    for sessions, counts in results["instructions"].items():
        for name, count in counts.items():
            base = round_robin_count(results, counts, results["baselines"][name])
            if base and name != results["baselines"][name]:
                added[name, int(sessions)] = count["per_request"] - base["per_request"]
    return added


def round_robin_count(results, counts, baseline):
    """Round robin keeps no sessions, so it is counted once, with the first number of sessions."""
    return counts.get(baseline) or next(iter(results["instructions"].values())).get(baseline)


def checks(results):
    """The targets, and whether this run meets them."""
    found = []
    added = added_instructions(results)

    def check(what, is_met):
        found.append(f"- {'met' if is_met else '**missed**'}: {what}")

    for name in ("ours", "ours-newer"):
        if (name, 1000) not in added:
            continue
        few = added[name, 1000]
        title = results["titles"][name]
        check(f"{title} adds {few:,.0f} instructions to round robin with 1,000 sessions (target: at most 900)", few <= 900)
        if ("own-newer", 1000) in added and name == "ours-newer":
            own = added["own-newer", 1000]
            check(f"that is {few / own:.2f} of the {own:,.0f} of nginx's own (target: at most a third)", few * 3 <= own)
        if (name, 1_000_000) in added:
            many = added[name, 1_000_000]
            check(f"{title} adds {many:,.0f} with 1,000,000 sessions (target: within 10 % of 1,000 sessions)", abs(many - few) <= 0.1 * few)
    for name in ("loaded", "loaded-newer"):
        if (name, 1000) in added:
            cost = added[name, 1000]
            check(f"{results['titles'][name]}: {cost:+,.0f} instructions (target: within 50)", abs(cost) <= 50)
    for scenario in results["scenarios"]:
        balancers = scenario["balancers"]
        ours = [n for n in balancers if n.startswith("ours")]
        for name in ours:
            title = f"{results['titles'][name]}, {scenario_title(scenario)}"
            misrouted = sum(r["misrouted"] for r in balancers[name]["used"])
            check(f"{title}: {misrouted} requests misrouted (target: 0)", misrouted == 0)
            if scenario["sessions"] < 1_000_000:
                continue
            over = over_baseline(scenario, name, results["baselines"][name])
            check(f"{title}: CPU {over.median:+.1f} % over round robin, {interval(over)} (target: at most 4 %)", over.median <= 4)
            cpu = spread(balancers[name]["used"], "cpu_us").median
            for other in balancers:
                if other.startswith("own") or other.startswith("haproxy") and not other.endswith("-rr"):
                    cost = spread(balancers[other]["used"], "cpu_us").median
                    check(f"{title}: {cpu:.2f} µs, {results['titles'][other]} {cost:.2f} µs (target: less)", cpu < cost)
    return "\n".join(found)


def interval(over):
    return f"95 % interval {over.least:+.1f} to {over.most:+.1f} %"


def noise(results):
    """The errors of this run's times."""
    lines = []
    for scenario in results["scenarios"]:
        balancers = scenario["balancers"]
        range_, name = max(
            ((s.high - s.low) / s.median * 100, name)
            for name, s in ((n, spread(b["used"], "cpu_us")) for n, b in balancers.items())
        )
        line = f"- {scenario_title(scenario)}: widest interquartile range {range_:.1f} % ({results['titles'][name]})"
        for name in balancers:
            if name.startswith("loaded"):
                over = over_baseline(scenario, name, results["baselines"][name])
                line += f"; {results['titles'][name]} {over.median:+.1f} %, {interval(over)}"
        lines.append(line)
    return "\n".join(lines)


def method(results):
    """How the times were measured. bench/README.md gives the reasons."""
    return "\n".join([
        f"- Times are medians of {results['rounds']} rounds, with the quartiles in parentheses.",
        f"- In each round, every balancer is measured once, for {results['seconds']:g} s. The {results['lead_in'] * 1000:g} ms "
        "before that have the same load and are not measured.",
        "- In a round, the balancers of one binary follow each other in random order.",
        f"- All balancers are restarted every {results['rounds'] / results['starts']:g} rounds, and nginx's workers are "
        f"replaced at least every {results['rounds_of_workers']} rounds. The place of a process in memory changes its speed "
        "for as long as it lives.",
        f"- The load: {results['connections']} connections, closed loop, GET with a random session id; three servers; "
        "connections are kept alive on both sides.",
        "- \"LB CPU\" is the CPU time of all threads of all workers, as the scheduler counts it.",
        "- \"Over its round robin\" compares a balancer with round robin of the same binary in the same round.",
        "- \"Misrouted\": a balancer that keeps sessions has created all of them itself. The others were asked for a sample "
        "of the ids; only requests with these ids can count as misrouted.",
        "- nginx's `hash` of the same header keeps no sessions, so most of its requests are misrouted. It shows the cost of "
        "a choice by id without a table.",
    ])


def about_noise(results):
    where = "has a CPU of its own" if results["scenarios"][0]["pinned"] else "runs on any CPU"
    return "\n".join([
        f"- A single worker {where}. With as many workers as the machine has cores, the load generator and the servers share "
        "the cores with them. Then requests/s and latency are of little use.",
        "- \"Module loaded, unused\" should cost nothing. Its excess shows the error of the other numbers.",
        "- The 95 % intervals assume independent rounds. The rounds between two restarts are not quite independent: in them, "
        "each process has the same place in memory.",
    ])


def summary(results):
    parts = [
        "# Load balancers compared",
        f"`{results['command']}` at {results['revision']}, {results['date']}, {results['minutes']:.0f} minutes, on "
        f"{results['machine']}; load average {results['load_before'][0]:.1f} before, {results['load_after'][0]:.1f} after.",
    ]
    if results["scenarios"]:
        parts += [
            method(results),
        ]
    if results["instructions"]:
        parts += [
            "## Instructions per request",
            instructions_table(results),
            "User space, counted by callgrind: one process, one client connection. Timers are not counted, "
            "except in the last column: it has the instructions of a second without requests.",
        ]
    for scenario in results["scenarios"]:
        parts += [f"## {scenario_title(scenario).capitalize()}", scenario_table(results, scenario)]
    if results["scenarios"]:
        parts += ["## Noise", about_noise(results), "In this run:", noise(results)]
    found = checks(results)
    if found:
        parts += ["## Targets", found]
    return "\n\n".join(parts) + "\n"


COLOURS = {
    "ours": "#0b7a3b",
    "mcp": "#5f9e76",
    "own": "#b4532a",
    "haproxy": "#3b5b92",
    "rr": "#8a8a8a",
    "loaded": "#b8b8b8",
    "hash": "#d0c39a",
}


def colour(name):
    if name.endswith("-rr"):
        return COLOURS["rr"]
    return COLOURS[name.split("-")[0]]


def plot(results, directory):
    import matplotlib

    matplotlib.use("Agg")
    # Text stays text, and the same numbers make the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.family": "sans-serif"})
    import matplotlib.pyplot as plt

    scenarios = results["scenarios"]
    added = {key: more for key, more in added_instructions(results).items() if not key[0].startswith("loaded")}
    panels = len(scenarios) + bool(added)
    if not panels:
        return
    columns = min(panels, 2)
    rows = -(-panels // columns)
    height = 0.32 * len(results["titles"]) + 1.1
    figure, axes = plt.subplots(rows, columns, figsize=(7.2 * columns, height * rows), squeeze=False, layout="constrained")
    axes = list(axes.flat)
    for scenario, axis in zip(scenarios, axes):
        bars(axis, f"LB CPU µs a request: {scenario_title(scenario)}", [
            (results["titles"][name], spread(b["used"], "cpu_us"), colour(name), ".1f")
            for name, b in scenario["balancers"].items()
        ])
    if added:
        bars(axes[len(scenarios)], "instructions that affinity adds to a request", [
            (f"{results['titles'][name]}, {sessions:,} sessions", Spread([more]), colour(name), ",.0f")
            for (name, sessions), more in sorted(added.items(), key=lambda item: list(results["titles"]).index(item[0][0]))
        ])
    for axis in axes[panels:]:
        axis.remove()
    figure.suptitle(f"{results['machine']}\n{results['command']}, {results['date']}", fontsize=8, color="#555555")
    for kind in ("svg", "png"):
        figure.savefig(directory / f"comparison.{kind}", dpi=110, metadata={"Date": None} if kind == "svg" else None)
    plt.close(figure)


def bars(axis, title, lines):
    """Medians, with the quartiles as whiskers."""
    places = range(len(lines))
    medians = [s.median for _, s, _, _ in lines]
    errors = [[s.median - s.low for _, s, _, _ in lines], [s.high - s.median for _, s, _, _ in lines]]
    axis.barh(places, medians, xerr=errors, color=[c for _, _, c, _ in lines], height=0.7,
              error_kw={"ecolor": "#333333", "elinewidth": 1, "capsize": 2})
    for place, (_, s, _, form) in zip(places, lines):
        axis.annotate(f"{s.median:{form}}", (s.high, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(places, [label for label, _, _, _ in lines], fontsize=8)
    axis.invert_yaxis()
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_xlim(0, max(s.high for _, s, _, _ in lines) * 1.15)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
