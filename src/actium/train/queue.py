"""Who trains which cell: a study in a database that any number of processes and machines share, kept by Optuna.

Stage: plan → [queue] → cells for workers. A cell is a trial that is enqueued once. A worker that dies is noticed by its
heartbeat, and its trial is enqueued again. Two machines may enqueue a cell at the same moment: then the trial with the
lower number counts, and the other is dropped before anything is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from actium.errors import StudyError
from actium.train.plan import Cell, Plan
from actium.train.storage import opened, quiet, study_of, translated

MAX_RETRIES = 3
_POLL_SECONDS = 0.5

# Reports a metric after an epoch; true if the cell is to be given up.
Report = Callable[[int, float], bool]
Train = Callable[[Cell, Report], dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """Where a study is kept, and how its workers are watched.

    Attributes:
        url: Of the database, as SQLAlchemy has it.
        name: Of the study.
        heartbeat: Seconds between two signs of life; a worker without one for three times as long counts as dead.
        pruner: none, median or halving.
    """

    url: str
    name: str
    heartbeat: int = 10
    pruner: str = "none"


class Queue:
    """The cells of a plan in a database.

    Args:
        place: Where.
        plan: What; a study of that name must be of this plan.
        since: Trials before this number belong to earlier runs: what failed there is tried again.

    Raises:
        StudyError: If the database cannot be opened, is damaged, or has another study of that name.
        ExtraError: If optuna or the database's driver is not installed.
    """

    def __init__(self, place: Place, plan: Plan, since: int | None = None) -> None:
        self.place, self.plan = place, plan
        self.cells = {cell.key: cell for cell in plan.cells}
        self.storage = opened(place.url, place.heartbeat, MAX_RETRIES)
        self.study = study_of(self.storage, place, plan)
        self.since = len(self._trials()) if since is None else since
        self._seen_running: dict[int, float] = {}

    def close(self) -> None:
        """Close the connections."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _trials(self) -> list[Any]:
        with translated(self.place.url), quiet():
            return self.study.get_trials(deepcopy=False)

    # -- what is there -----------------------------------------------------------------------------

    def results(self) -> dict[str, dict[str, Any]]:
        """Key → result, of all cells that are finished, whoever trained them."""
        return _results(self._trials())

    def errors(self) -> dict[str, str]:
        """Key → what went wrong in this run, of the cells that have no result for that reason."""
        trials = self._trials()
        finished = _results(trials)
        late = (t for t in trials if t.number >= self.since and t.user_attrs.get("cell") not in finished)
        return {t.user_attrs["cell"]: t.user_attrs["error"] for t in late if "error" in t.user_attrs}

    def fill(self) -> tuple[int, int]:
        """Enqueue the cells that nobody has done, does or will do.

        Returns:
            How many wait, and how many run.
        """
        import optuna

        trials = self._trials()
        settled = set(_results(trials))
        failures: dict[str, int] = {}
        counts = {"WAITING": 0, "RUNNING": 0}
        for t in trials:
            key = t.user_attrs.get("cell")
            if t.state.name in counts:
                counts[t.state.name] += 1
                settled.add(key)
            elif t.state.name == "FAIL" and t.number >= self.since:
                failures[key] = failures.get(key, 0) + (MAX_RETRIES + 1 if "error" in t.user_attrs else 1)
        missing = [k for k in self.cells if k not in settled and failures.get(k, 0) <= MAX_RETRIES]
        with translated(self.place.url), quiet():
            for key in missing:
                cell = self.cells[key]
                params = {"activation": cell.activation, "seed": cell.seed}
                self.study.add_trial(
                    optuna.create_trial(
                        state=optuna.trial.TrialState.WAITING,
                        params=params,
                        distributions=self._distributions,
                        user_attrs={"cell": key},
                    )
                )
        return counts["WAITING"] + len(missing), counts["RUNNING"]

    @property
    def _distributions(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        seeds = IntDistribution(0, max(self.plan.seeds - 1, 1))
        return {"activation": CategoricalDistribution(self.plan.activations), "seed": seeds}

    # -- what a worker does ------------------------------------------------------------------------

    def work(self, train: Train, worker: str, worst: float) -> None:
        """Train cells until all are finished, waiting for those that others train.

        Args:
            train: Trains a cell, and returns its result.
            worker: A name that no other worker has.
            worst: What a cell counts that diverged.

        Raises:
            StudyError: If the database or the results cannot be written.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        def objective(trial: Any) -> float:
            return self._objective(trial, train, worker, worst)

        for waiting in self._while_unfinished():
            if not waiting:
                self._wait()
                continue
            try:
                with translated(self.place.url), quiet():
                    self.study.optimize(objective, n_trials=1, catch=(_CellError,))
            except UpdateFinishedTrialError:
                pass  # This worker was taken for dead while it trained; its result is stored all the same.

    def _while_unfinished(self) -> Iterator[int]:
        while True:
            waiting, running = self.fill()
            if not waiting and not running:
                return
            yield waiting

    def _wait(self) -> None:
        """Wait for others; notice those that died.

        A worker that is killed between taking a trial and its first heartbeat would never be missed: Optuna looks only
        at heartbeats that it has seen. So a trial that has run for long gets a heartbeat in the name of its worker.
        """
        import optuna

        time.sleep(_POLL_SECONDS)
        with translated(self.place.url), quiet():
            optuna.storages.fail_stale_trials(self.study)
            now = time.monotonic()
            running = {t._trial_id for t in self._trials() if t.state.name == "RUNNING"}
            self._seen_running = {k: self._seen_running.get(k, now) for k in running}
            for k, begin in self._seen_running.items():
                if now - begin > 4 * self.place.heartbeat:
                    self.storage.record_heartbeat(k)
                    self._seen_running[k] = float("inf")

    def _objective(self, trial: Any, train: Train, worker: str, worst: float) -> float:
        import optuna

        cell = self.cells.get(trial.user_attrs.get("cell"))
        if cell is None or self._is_done_elsewhere(trial.number, cell.key):
            raise optuna.TrialPruned("nothing to do")
        trial.suggest_categorical("activation", self.plan.activations)
        trial.suggest_int("seed", 0, self._distributions["seed"].high)
        trial.set_user_attr("worker", worker)

        def report(epoch: int, metric: float) -> bool:
            if self.place.pruner == "none":
                return False
            trial.report(metric, epoch)
            return trial.should_prune()

        try:
            result = trial.user_attrs.get("result") or train(cell, report)
        except StudyError:
            raise
        except Exception as error:
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
            raise _CellError(str(error)) from error
        trial.set_user_attr("result", result)
        if result.get("pruned"):
            raise optuna.TrialPruned("by the pruner")
        return worst if result["metric"] is None else result["metric"]

    def _is_done_elsewhere(self, number: int, key: str) -> bool:
        trials = [t for t in self._trials() if t.user_attrs.get("cell") == key and t.number != number]
        earlier = any(t.number < number and t.state.name in ("WAITING", "RUNNING") for t in trials)
        return earlier or key in _results(trials)

    def release(self, worker: str) -> None:
        """Give up the trial of a worker that is known to be dead, without waiting for its heartbeat to fail."""
        import optuna

        with translated(self.place.url), quiet():
            for t in self._trials():
                if t.state.name == "RUNNING" and t.user_attrs.get("worker") == worker:
                    try:
                        self.storage.set_trial_state_values(t._trial_id, optuna.trial.TrialState.FAIL)
                    except optuna.exceptions.UpdateFinishedTrialError:
                        continue


class _CellError(Exception):
    """A cell that cannot be trained, whoever tries."""


def _results(trials: list[Any]) -> dict[str, dict[str, Any]]:
    return {t.user_attrs["cell"]: t.user_attrs["result"] for t in trials if "result" in t.user_attrs}
