"""What a study showed: an activation each, the differences between them, and a sentence.

Stage: cells → [summary] → report, JSON. A difference is called shown only if its corrected p is below 0.05, and a pair
is compared on the seeds that both of its activations finished; one that has not finished all its runs is never called
better.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Container, Mapping, Sequence
from typing import Any

from actium.train.plan import SCHEMA, Plan
from actium.train.record import finite
from actium.train.stats import bootstrap, holm, paired
from actium.train.tasks import task_of

LEVEL = 0.05


def document(plan: Plan, cells: Sequence[Mapping[str, Any]], environment: Mapping[str, Any]) -> dict[str, Any]:
    """The whole JSON object of a study.

    Args:
        plan: What was trained.
        cells: Results.
        environment: What they may depend on.

    Returns:
        `{"schema", "environment", "plan", "cells", "summary"}`; strict JSON can hold it.
    """
    whole = {"schema": SCHEMA, "environment": dict(environment), "plan": plan.to_json()}
    return whole | {"cells": [dict(c) for c in cells], "summary": summarize(plan, cells)}


def summarize(plan: Plan, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The numbers for each activation, and for each pair.

    Args:
        plan: What was trained.
        cells: Results; those without a metric are counted, not averaged.

    Returns:
        As JSON has it.
    """
    metric = task_of(plan.task)[0].metric
    by_name = {a: [c for c in cells if c["activation"] == a] for a in plan.activations}
    rows = [_row(a, own) for a, own in by_name.items()]
    pairs = _pairs(by_name, metric.higher_is_better)
    whole = {"metric": metric.name, "higher_is_better": metric.higher_is_better, "activations": rows, "pairs": pairs}
    return whole | {"conclusion": _conclusion(rows, pairs, plan.seeds)}


def _row(activation: str, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    done = [c for c in cells if _counts(c)]
    metrics = [c["metric"] for c in done]
    interval = [finite(v) for v in bootstrap(metrics)]
    return {
        "activation": activation,
        "cells": len(cells),
        "finished": len(done),
        "mean": statistics.fmean(metrics) if metrics else None,
        "interval": None if None in interval else interval,
        "train_loss": _middle(c["curve"][-1]["train_loss"] for c in done if c.get("curve")),
        "loss": _middle(c.get("loss") for c in done),
        "diverged": sum(bool(c.get("diverged")) for c in cells),
        "pruned": sum(bool(c.get("pruned")) for c in cells),
        "failed": sum(bool(c.get("error")) for c in cells),
        "step_seconds": _middle(c.get("step_seconds") for c in done),
        "kept_bytes": _middle(c.get("kept_bytes") for c in done),
        "dead": _middle(max(c["dead"]) for c in done if c.get("dead")),
        "learned": _learned(done),
    }


def _counts(cell: Mapping[str, Any]) -> bool:
    """Whether a cell was trained to its end."""
    return cell.get("metric") is not None and not cell.get("pruned")


def _middle(values: Any) -> float | None:
    known = [v for v in values if v is not None]
    return statistics.median(known) if known else None


def _learned(cells: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Parameter → its value at the start and, as the middle over seeds, at the end."""
    found = {}
    for name in cells[0].get("learned", {}) if cells else ():
        first = _middle(c["learned"][name][0] for c in cells if c["learned"].get(name))
        last = _middle(c["learned"][name][-1] for c in cells if c["learned"].get(name))
        if first is not None and last is not None:
            found[name] = {"start": first, "end": last}
    return found


def _pairs(by_name: Mapping[str, Sequence[Mapping[str, Any]]], higher_is_better: bool) -> list[dict[str, Any]]:
    unfinished = {a for a, cells in by_name.items() if not all(map(_counts, cells))}
    pairs = []
    for a, b in itertools.combinations(by_name, 2):
        left, right = ({c["seed"]: c["metric"] for c in by_name[n] if _counts(c)} for n in (a, b))
        both = sorted(set(left) & set(right))
        pairs.append((a, b, paired([left[s] for s in both], [right[s] for s in both])))
    corrected = holm([d.p for *_, d in pairs])
    return [
        {
            "a": a,
            "b": b,
            "pairs": d.pairs,
            "difference": finite(d.mean),
            "interval": None if finite(d.low) is None else [d.low, d.high],
            "p": finite(d.p),
            "p_holm": finite(p),
            "better": _better((a, b), (d.mean > 0) == higher_is_better, p, unfinished),
        }
        for (a, b, d), p in zip(pairs, corrected, strict=True)
    ]


def _better(pair: tuple[str, str], is_first: bool, p: float, unfinished: Container[str]) -> str | None:
    """The better of a pair, if that is shown: p knows nothing of the runs that did not finish."""
    ahead = pair[0] if is_first else pair[1]
    return ahead if p < LEVEL and ahead not in unfinished else None


def _conclusion(rows: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]], seeds: int) -> str:
    parts = []
    for pair in pairs:
        better = pair["better"]
        if better is not None:
            other = pair["b"] if better == pair["a"] else pair["a"]
            parts.append(f"{better} is better than {other} (p = {pair['p_holm']:.2g})")
    unfinished = (r for r in rows if r["finished"] < r["cells"])
    parts += [f"{r['activation']} finished {r['finished']} of {r['cells']} runs" for r in unfinished]
    if not pairs:
        return "; ".join(parts) or "one activation: nothing to compare"
    if not any(p["better"] for p in pairs):
        few = f" by {seeds} seeds" if seeds > 1 else ": one seed tells nothing about the spread"
        return "; ".join([f"no difference shown{few}", *parts])
    return "; ".join(parts)
