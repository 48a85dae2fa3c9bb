"""What runs inside a target's own process.

Stage: job → [worker] → answer.
In: a job as JSON has it. Out: the answer as JSON has it, in a file: what foreign code prints, or closes, cannot touch
it. This is the only place where the command line imports foreign code.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from actium.checking import known_functions, subject_of
from actium.errors import ActiumError, TargetError
from actium.running import reach
from actium.targets import members_of, resolve
from actium.verify.certificate import Certificate
from actium.verify.checks.composition import PRELOAD
from actium.verify.run import DEFAULT_DTYPES, check
from actium.verify.subject import Subject, obstacle, one_line


def answer(job: Mapping[str, Any]) -> dict[str, Any]:
    """Do a job.

    Args:
        job: `kind` is "judge" (with `target`, `judging` and `member`; for the sweep over all inputs `reach`, a file
            to say in how far it is, and `keep`, a folder for what is done), "members" (with `place`) or "environment".

    Returns:
        `{"certificate": …}`, `{"members": …}` or `{"environment": …}`; otherwise `{"reason": …}`, with the type and
        traceback of an exception.
    """
    torch.set_num_threads(max(1, int(job.get("threads", 1))))
    try:
        return _KINDS[job["kind"]](job)
    except ActiumError as error:
        return _refusal(str(error), error)
    except Exception as error:
        return _refusal(f"internal: {one_line(error)}", error)
    except BaseException as error:  # SystemExit, KeyboardInterrupt: only foreign code raises those here.
        return {"reason": f"ends the process: raises {one_line(error)}"}


def _refusal(reason: str, error: BaseException) -> dict[str, Any]:
    trace = "".join(traceback.format_exception(error))
    return {"reason": reason, "error": type(error).__name__, "trace": trace[-20_000:]}


def judge(job: Mapping[str, Any]) -> dict[str, Any]:
    """Judge a target. Of a `*`, a member that is no activation at all is left out with the reason."""
    options = job["judging"]
    try:
        found = resolve(job["target"], options["parameters"], guess=True)
    except TargetError as error:
        if not job["member"]:
            raise
        return {"reason": str(error).removeprefix(f"{job['target']} ")}
    subject = subject_of(replace(found, claims=options["claims"]), options["fused"])
    if job["member"]:
        reason = obstacle(subject)
        if reason is not None:
            return {"reason": reason}
    if options["full"]:
        return {"certificate": _judge_fully(subject, job).to_json()}
    dtypes = options["dtypes"] or DEFAULT_DTYPES
    only = options["only"] or None
    certificate = check(subject, known=known_functions(), dtypes=dtypes, only=only, aside=_is_alone(job))
    return {"certificate": certificate.to_json()}


def _is_alone(job: Mapping[str, Any]) -> bool:
    """Whether a CPU is free: with one thread, the others are at work on other targets."""
    return job.get("threads", 1) > 1


def _judge_fully(subject: Subject, job: Mapping[str, Any]) -> Certificate:
    """Judge by all float32 inputs; a run that was interrupted goes on from what was kept of it."""
    from actium.exhaustive import check_full
    from actium.kernels import cache

    kept = Path(job["keep"]) if job.get("keep") else cache.directory() / "full"
    dtypes = job["judging"]["dtypes"] or DEFAULT_DTYPES
    tell = functools.partial(reach.tell, Path(job["reach"])) if job.get("reach") else None
    return check_full(subject, known=known_functions(), dtypes=dtypes, out=kept, progress=tell, aside=_is_alone(job))


def _members(job: Mapping[str, Any]) -> dict[str, Any]:
    found = members_of(job["place"])
    return {"members": {"targets": found.targets, "skipped": found.skipped, "places": found.places}}


def _environment(job: Mapping[str, Any]) -> dict[str, Any]:
    from actium.kernels import toolchain
    from actium.verify.certificate import environment, plain

    kernels = "C" if toolchain.kernels_enabled() else f"none: {toolchain.unavailable_reason()}"
    return {"environment": plain(environment(kernels))}


_KINDS = {"judge": judge, "members": _members, "environment": _environment}


def run(job: Mapping[str, Any]) -> None:
    """Do a job and write the answer where it says, whole or not at all; never returns."""
    process = os.getpid()
    made = answer(job)
    if os.getpid() != process:
        os._exit(0)  # Foreign code forked, and this is its child.
    try:
        text = json.dumps(made, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        text = json.dumps(_refusal(f"internal: the answer is no JSON: {error}", error))
    path = Path(job["answer"])
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # It may have been closed or replaced.
            stream.flush()
    # Threads that foreign code started, and what it registered with atexit, do not hold up the rest.
    os._exit(0)


def prepare() -> None:
    """Do what every worker needs, once, before it is forked. Nothing here may start a thread."""
    known_functions()


def prepare_for_many() -> None:
    """Load what some checks load on first use, which takes seconds: worth it before several workers are forked."""
    for name in PRELOAD:
        with contextlib.suppress(Exception):  # Each is torch's own business, and the check's where it needs it.
            importlib.import_module(name)


def main() -> None:
    """Do the job in the second argument: a worker that was not forked."""
    run(json.loads(sys.argv[2]))
