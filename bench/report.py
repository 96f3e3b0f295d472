"""What is kept of a run: a summary with tables, and a plot."""

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
    """Median and quartiles, and between what the true median lies 19 times out of 20."""

    def __init__(self, values):
        self.median = statistics.median(values)
        # As many values lie below a median as a coin shows heads.
        skipped = max(0, math.floor((len(values) - 1.96 * math.sqrt(len(values))) / 2) - 1)
        self.least, self.most = sorted(values)[skipped], sorted(values, reverse=True)[skipped]
        self.low, _, self.high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3

    def shown(self, form):
        return f"{self.median:{form}} ({self.low:{form}} … {self.high:{form}})"


def spread(rounds, field):
    return Spread([r[field] for r in rounds])


def over_baseline(scenario, name, baseline, field="cpu_us"):
    """How much more than its baseline in the same round, in per cent."""
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
    return table([*head, "idle, a second"], rows)


def added_instructions(results):
    """What each balancer with another baseline than itself adds to it, by name and sessions."""
    added = {}
    for sessions, counts in results["instructions"].items():
        for name, count in counts.items():
            base = round_robin_count(results, counts, results["baselines"][name])
            if base and name != results["baselines"][name]:
                added[name, int(sessions)] = count["per_request"] - base["per_request"]
    return added


def round_robin_count(results, counts, baseline):
    """Round robin knows no sessions: it is counted once, with the first number of them."""
    return counts.get(baseline) or next(iter(results["instructions"].values())).get(baseline)


def checks(results):
    """What is to hold, and what was found in this run."""
    found = []
    added = added_instructions(results)

    def check(what, holds):
        found.append(f"- {'holds' if holds else '**does not hold**'}: {what}")

    for name in ("ours", "ours-newer"):
        if (name, 1000) not in added:
            continue
        few = added[name, 1000]
        title = results["titles"][name]
        check(f"{title} adds {few:,.0f} instructions to round robin with 1,000 sessions (at most 900)", few <= 900)
        if ("own-newer", 1000) in added and name == "ours-newer":
            own = added["own-newer", 1000]
            check(f"that is {few / own:.2f} of what nginx's own adds, {own:,.0f} (at most a third)", few * 3 <= own)
        if (name, 1_000_000) in added:
            many = added[name, 1_000_000]
            check(f"{title} adds {many:,.0f} with 1,000,000 sessions (within 10 %)", abs(many - few) <= 0.1 * few)
    for name in ("loaded", "loaded-newer"):
        if (name, 1000) in added:
            cost = added[name, 1000]
            check(f"{results['titles'][name]}: {cost:+,.0f} instructions (nothing)", abs(cost) <= 50)
    for scenario in results["scenarios"]:
        balancers = scenario["balancers"]
        ours = [n for n in balancers if n.startswith("ours")]
        for name in ours:
            title = f"{results['titles'][name]}, {scenario_title(scenario)}"
            misrouted = sum(r["misrouted"] for r in balancers[name]["used"])
            check(f"{title}: {misrouted} requests misrouted (0)", misrouted == 0)
            if scenario["sessions"] < 1_000_000:
                continue
            over = over_baseline(scenario, name, results["baselines"][name])
            check(f"{title}: CPU {over.median:+.1f} % over round robin, {certainty(over)} (at most 4 %)", over.median <= 4)
            cpu = spread(balancers[name]["used"], "cpu_us").median
            for other in balancers:
                if other.startswith("own") or other.startswith("haproxy") and not other.endswith("-rr"):
                    cost = spread(balancers[other]["used"], "cpu_us").median
                    check(f"{title}: {cpu:.2f} µs, {results['titles'][other]} {cost:.2f} µs (below)", cpu < cost)
    return "\n".join(found)


def certainty(over):
    return f"19 to 1 between {over.least:+.1f} and {over.most:+.1f} %"


def wander(results):
    """How far this run's own times can be trusted."""
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
                line += f"; {results['titles'][name]} {over.median:+.1f} %, {certainty(over)}"
        lines.append(line)
    return "\n".join(lines)


def summary(results):
    parts = [
        "# Load balancers compared",
        f"`{results['command']}` at {results['revision']}, {results['date']}, {results['minutes']:.0f} minutes, on "
        f"{results['machine']}; load average {results['load_before'][0]:.1f} before, {results['load_after'][0]:.1f} after.",
    ]
    if results["scenarios"]:
        parts += [
            f"Medians of {results['rounds']} interleaved rounds (quartiles in parentheses): in each, every balancer is measured for "
            f"{results['seconds']:g} s, after {results['lead_in'] * 1000:g} ms of the same load; the balancers of a binary follow "
            f"each other in random order; all balancers start anew every {results['rounds'] / results['starts']:g} rounds, and "
            f"nginx's workers do so at least every {results['rounds_of_workers']}, since where a process has its memory tells "
            "for as long as it lives; "
            f"{results['connections']} connections, closed loop, GET with a session id drawn at random, three servers, "
            "connections kept on both sides. CPU is the scheduler's count for all threads of all workers. \"Over its round "
            "robin\" compares a balancer with the same binary's round robin in the same round. A balancer "
            "that keeps sessions has made all of them itself; the others were asked for a sample of the ids, and only those "
            "can count as misrouted. nginx's `hash` of the same header keeps no sessions, so that most of its requests "
            "are misrouted; it shows what choosing by an id costs without a table.",
        ]
    if results["instructions"]:
        parts += [
            "## Instructions a request",
            instructions_table(results),
            "User space, callgrind, one process, one client connection; timers apart, as the instructions of an idle second.",
        ]
    for scenario in results["scenarios"]:
        parts += [f"## {scenario_title(scenario).capitalize()}", scenario_table(results, scenario)]
    if results["scenarios"]:
        where = "its own CPU" if results["scenarios"][0]["pinned"] else "any CPU"
        parts += [
            "## What wanders",
            f"A single worker has {where}; with as many workers as the machine has cores, load generator and servers "
            "share the cores with them, and requests/s and latency tell little. What the module seems to cost "
            "where it is loaded but unused is the error of the other numbers. \"19 to 1\" takes rounds as independent, "
            "though those of a start have the places of their memory in common.",
            wander(results),
        ]
    found = checks(results)
    if found:
        parts += ["## What is to hold", found]
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
