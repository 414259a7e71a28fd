"""The race's records as tables: medians, ratios taken within each round, and the goals."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

Record = dict[str, Any]
OURS = "atpn"
TITLES = {
    "given": "photograph with its box",
    "searched": "photograph without box",
    "track": "/track, frames",
    "overload": "twice the capacity, answers within 0.5 s",
}
BUSY = 0.05  # share of the cores that others may have used before the page says so


def of(records: Iterable[Record], who: str, load: str, clients: int | None) -> list[Record]:
    """The measurements of one cell, by round."""
    wanted = who, load, clients
    return [r for r in records if (r["who"], r.get("load"), r.get("clients")) == wanted]


def median(records: Sequence[Record], name: str) -> float:
    """Of one figure over the rounds."""
    return float(statistics.median(r[name] for r in records))


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median and range."""
    middle, low, high = statistics.median(values), min(values), max(values)
    text = format(middle, form)
    return text if len(values) == 1 else f"{text} ({low:{form}}-{high:{form}})"


def ratios(above: Sequence[Record], below: Sequence[Record]) -> list[float]:
    """Of answers a second, within each round that both have."""
    others = {r["round"]: r["per_s"] for r in below}
    return [r["per_s"] / others[r["round"]] for r in above if others.get(r["round"])]


def best_peer(records: Sequence[Record], load: str, clients: int) -> str | None:
    """The peer with the highest median; None where none was measured."""
    peers = {r["who"] for r in records if r.get("load") == load} - {OURS}
    found = {who: cell for who in peers if (cell := of(records, who, load, clients))}
    return max(found, key=lambda who: median(found[who], "per_s"), default=None)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def load_table(records: Sequence[Record], load: str, about: Mapping[str, str]) -> str:
    """One load: a row a server, a rate and times for each number of clients."""
    mine = [r for r in records if r.get("load") == load]
    counts = sorted({r["clients"] for r in mine})
    head = ["server"]
    for count in counts:
        many = f"{count} clients" if count > 1 else "1 client"
        head += [f"{many}, a second", f"{OURS} ÷ it", "p50 · p99, ms", "CPU, ms"]
    rows = []
    for who in dict.fromkeys(r["who"] for r in mine):
        row = [f"**{who}**, {about[who]}" if who == OURS else f"{who}, {about[who]}"]
        for count in counts:
            row += cell(records, who, load, count)
        memory = max(r["memory_mb"] for r in mine if r["who"] == who)
        rows.append([*row, f"{memory:.0f}"])
    return table([*head, "memory, MiB"], rows)


def cell(records: Sequence[Record], who: str, load: str, clients: int) -> list[str]:
    """Rate, ratio, times and CPU time."""
    found = of(records, who, load, clients)
    if not found:
        return ["", "", "", ""]
    over = ratios(of(records, OURS, load, clients), found) if who != OURS else []
    return [
        spread([r["per_s"] for r in found], ".0f"),
        spread(over) if over else "",
        f"{median(found, 'p50_ms'):.1f} · {median(found, 'p99_ms'):.1f}",
        f"{median(found, 'cpu_ms'):.2f}",
    ]


def overload_table(records: Sequence[Record], about: Mapping[str, str]) -> str:
    """What is left of the capacity when twice as much is asked."""
    mine = [r for r in records if r.get("load") == "overload"]
    rows = []
    for who in dict.fromkeys(r["who"] for r in mine):
        found = of(records, who, "overload", None)
        shares = spread([r["of_capacity"] for r in found])
        rest = [
            f"{sum(r[n] for r in found) / sum(r['offered'] for r in found):.0%}"
            for n in ("refused", "late")
        ]
        rows.append(
            [f"{who}, {about[who]}", spread([r["per_s"] for r in found], ".0f"), shares, *rest]
        )
    head = ["server", "in time, a second", "of its capacity", "refused at once", "too late"]
    return table(head, rows)


def thread_lines(records: Sequence[Record]) -> str:
    """Where atpn's CPU time of an answer goes, by the names of its threads."""
    lines = []
    for load, clients in dict.fromkeys((r.get("load"), r.get("clients")) for r in records):
        found = of(records, OURS, load, clients) if load else []
        names = dict.fromkeys(n for r in found for n in r["threads_cpu_ms"])
        parts = [
            f"{n} {statistics.median(r['threads_cpu_ms'].get(n, 0.0) for r in found):.2f}"
            for n in names
        ]
        if parts:
            many = f", {clients}" if clients else ""
            lines.append(f"- {TITLES[str(load)]}{many}: {' · '.join(parts)}")
    return "\n".join(lines) + "\n" if lines else ""


def goals(records: Sequence[Record]) -> str:
    """The goals that what was measured can tell of."""
    parts = [r for r in records if r["who"] == "parts"]
    decode, network = median(parts, "decode_ms"), median(parts, "network_ms")
    rows: list[Sequence[str]] = []

    def ratio(name: str, goal: float, ours: tuple[str, int], theirs: tuple[str, int]) -> None:
        peer = best_peer(records, *theirs)
        mine = of(records, OURS, *ours)
        if peer and mine:
            values = ratios(mine, of(records, peer, *theirs))
            rows.append([f"{name} ({peer})", f">= {goal:.1f}", spread(values)])

    def over(name: str, load: str) -> None:
        if mine := of(records, OURS, load, 1):
            by_round = {r["round"]: r["decode_ms"] + r["network_ms"] for r in parts}
            values = [r["p50_ms"] - by_round[r["round"]] for r in mine]
            rows.append([name, "<= 1.5 ms", spread(values)])

    ratio("16 clients ÷ the best peer", 1.3, ("given", 16), ("given", 16))
    ratio("1 client ÷ the best peer", 1.0, ("given", 1), ("given", 1))
    ratio("frames of 16 streams ÷ the best peer's photos", 1.5, ("track", 16), ("given", 16))
    over("one client's p50 - decoding - network", "given")
    over("one stream's p50 - decoding - network", "track")
    if mine := of(records, OURS, "overload", None):
        rows.append(
            [
                "in time at twice the capacity ÷ capacity",
                ">= 0.95",
                spread([r["of_capacity"] for r in mine]),
            ]
        )
    note = f"Decoding {decode:.2f} ms, network {network:.2f} ms: medians, one thread, alone.\n"
    return table(["goal", "wanted", "measured"], rows) + "\n" + note


def others(records: Sequence[Record]) -> str:
    """Whether something else ran meanwhile, and what the loads took."""
    shares = [r["others_share"] for r in records if "others_share" in r]
    loads = [
        r["client_cpu_ms"] / (r["client_cpu_ms"] + r["cpu_ms"])
        for r in records
        if "client_cpu_ms" in r and r["cpu_ms"]
    ]
    if not shares:
        return ""
    text = f"The load took {spread(loads, '.0%')} of what load and server used."
    if max(shares) > BUSY:
        text += f" Other processes used up to {max(shares):.0%} of the cores: measure again."
    return text + "\n"


def absent(records: Sequence[Record]) -> str:
    """Who did not start, and in how many rounds."""
    names = [r["who"] for r in records if r.get("started") is False]
    return "".join(f"{n} did not start ({names.count(n)} times).\n" for n in dict.fromkeys(names))


def page(result: Mapping[str, Any], about: Mapping[str, str]) -> str:
    """Everything, as Markdown."""
    records: list[Record] = result["records"]
    rounds = 1 + max(r["round"] for r in records)
    where = f"{result['machine']['cores']} cores of {result['machine']['cpu']}"
    text = f"{where}; medians (ranges) of {rounds} rounds of {result['seconds']:g} s.\n"
    for load, title in TITLES.items():
        if any(r.get("load") == load for r in records):
            tabled = overload_table if load == "overload" else partial(load_table, load=load)
            text += f"\n**{title}**\n\n{tabled(records, about=about)}"
    text += f"\n{goals(records)}"
    if threads := thread_lines(records):
        text += f"\nCPU time of an answer of {OURS} by thread, ms:\n\n{threads}"
    return text + "\n" + others(records) + absent(records)
