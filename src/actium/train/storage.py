"""Databases of studies, opened so that several processes can write, with errors that say what to do.

Stage: URL → [storage] → queue. Optuna claims a trial by reading its state and writing it back. SQLite knows no
`SELECT … FOR UPDATE`, so two processes could both read "waiting": here every transaction takes the write lock first.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from actium.errors import ExtraError, StudyError
from actium.train.extras import need

if TYPE_CHECKING:
    from actium.train.plan import Plan
    from actium.train.queue import Place

PRUNERS = ("none", "median", "halving")
_BUSY_SECONDS = 60
_ATTEMPTS = 5
_PLAN = "plan"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna says nothing: neither what is experimental in it nor each trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def shown(url: str) -> str:
    """A URL without its password.

    Example:
        >>> shown("postgresql://me:secret@host/studies")
        'postgresql://me:***@host/studies'
    """
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.partition(':')[0]}:***{at}{tail}" if ":" in user else url


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn what a database raises into a `StudyError`."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise StudyError(_advice(url, error)) from error


def _advice(url: str, error: Exception) -> str:
    cause = error.__cause__ or error
    reason = " ".join(str(getattr(cause, "orig", None) or cause).split())[:300]
    if "not a database" in reason or "malformed" in reason:
        return (
            f"the study file {shown(url)} is damaged ({reason}); move it away and run the same command: "
            "finished cells are files in the folder of --out, and are not trained again"
        )
    if "full" in reason or "No space" in reason:
        return f"cannot write {shown(url)}: {reason}; free some space, and the same command goes on from there"
    return f"cannot use the study in {shown(url)}: {reason}; check the URL, the server and the permissions"


def opened(url: str, heartbeat: int, retries: int) -> Any:
    """The storage behind a URL.

    Args:
        url: As SQLAlchemy has it; `postgresql://` means the driver psycopg.
        heartbeat: Seconds between two signs of life of a worker.
        retries: How often a trial is enqueued again whose worker died.

    Returns:
        Optuna's storage.

    Raises:
        StudyError: If it cannot be opened.
        ExtraError: If optuna or a driver is missing.
    """
    optuna = need("optuna", "a study")
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    is_sqlite = url.startswith("sqlite")
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            need("psycopg", "a study in PostgreSQL", "postgres")
            url = f"postgresql+psycopg://{url.removeprefix(prefix)}"
    arguments = {"connect_args": {"timeout": _BUSY_SECONDS}} if is_sqlite else {"pool_pre_ping": True}
    with translated(url), quiet():
        storage = _created(url, arguments, heartbeat, retries)
        if is_sqlite:
            _lock_first(storage.engine)
    return storage


def _created(url: str, arguments: dict[str, Any], heartbeat: int, retries: int) -> Any:
    """The storage; where several processes make the tables of a new database at once, all but one have to try again."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    for attempt in range(_ATTEMPTS):
        try:
            return optuna.storages.RDBStorage(
                url,
                engine_kwargs=arguments,
                heartbeat_interval=heartbeat,
                grace_period=3 * heartbeat,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=retries),
            )
        except ImportError as error:
            raise ExtraError(f"the driver of {shown(url)} is not installed: {error}") from error
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            if attempt == _ATTEMPTS - 1 or "not a database" in str(error) or "malformed" in str(error):
                raise
            time.sleep(0.2 * (attempt + 1))
        except RuntimeError as error:
            raise StudyError(f"the study in {shown(url)} is of another version of Optuna: {error}") from error
    raise AssertionError


def _lock_first(engine: Any) -> None:
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def _no_implicit_begin(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _take_the_lock(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections that were made before these rules


def study_of(storage: Any, place: Place, plan: Plan) -> Any:
    """The study of that name, made if need be.

    Raises:
        StudyError: If there is one of that name with another plan.
    """
    import optuna
    from optuna.study import StudyDirection

    from actium.train.tasks import task_of

    direction = "maximize" if task_of(plan.task)[0].metric.higher_is_better else "minimize"
    with translated(place.url), quiet():
        found = {s.study_name: s for s in optuna.get_all_study_summaries(storage)}.get(place.name)
        if found is not None and found.direction is not StudyDirection[direction.upper()]:
            raise StudyError(_other(place))
        study = optuna.create_study(
            storage=storage,
            study_name=place.name,
            direction=direction,
            sampler=optuna.samplers.RandomSampler(),
            pruner=_pruner(place.pruner, plan.epochs),
            load_if_exists=True,
        )
        if study.user_attrs.get(_PLAN) is None:
            study.set_user_attr(_PLAN, plan.to_json())
        if study.user_attrs[_PLAN] != plan.to_json():
            raise StudyError(_other(place))
    return study


def _other(place: Place) -> str:
    return (
        f"{shown(place.url)} has a study {place.name!r} already, of another plan; choose another name with --study, "
        "or leave --study out: then each plan has a name of its own"
    )


def _pruner(name: str, epochs: int) -> Any:
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(epochs // 3, 1))
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=max(epochs // 4, 1))
    if name != "none":
        raise StudyError(f"there is no pruner {name!r}; there are: {', '.join(PRUNERS)}")
    return optuna.pruners.NopPruner()
