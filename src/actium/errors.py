"""Every exception that actium raises, each message built in one place.

A message says what is wrong, where, what was got and expected, and what to do next.
`ActiumError` catches them all; each subclass also derives from the built-in exception that a
PyTorch user would expect (`TypeError`, `ValueError`, `RuntimeError`), so existing handlers work.
"""

from __future__ import annotations


class ActiumError(Exception):
    """Base class of every error that actium raises on purpose."""


class FormulaError(ActiumError, ValueError):
    """Formula text that is not a formula, or is too large, or names something unknown."""


class TraceError(ActiumError, TypeError):
    """A function or module that cannot be turned into a formula, with the line that did it."""


class DerivativeError(ActiumError, ValueError):
    """A derivative that was asked for with respect to something the formula does not have."""


class DtypeError(ActiumError, TypeError):
    """A tensor whose dtype or layout an elementwise activation cannot take."""


class DeviceError(ActiumError, RuntimeError):
    """Tensors of one call that live on different devices."""


class ShapeError(ActiumError, ValueError):
    """A tensor whose shape a gated unit or a layer cannot take, such as an odd size to be halved."""


class ChannelError(ActiumError, ValueError):
    """A parameter whose size does not match the channel dimension of the input."""


class ParameterError(ActiumError, ValueError):
    """A parameter that is unknown, missing, not a number, or outside its range."""


class InplaceError(ActiumError, RuntimeError):
    """An in-place call that would destroy a value which the backward pass needs."""


class MemoryModeError(ActiumError, ValueError):
    """A `memory=` that does not exist, that a function does not have, or that has not kept what is asked of it."""


class KernelError(ActiumError, RuntimeError):
    """A kernel that could not be generated, compiled or loaded."""


class TargetError(ActiumError, ValueError):
    """A target of `actium check` (or `show`, `eject`) that cannot be loaded or called."""


class CheckError(ActiumError, ValueError):
    """A check id, a claim or a budget that does not exist or cannot be read."""


class BenchError(ActiumError, ValueError):
    """A size, a format, a pass or a device that cannot be measured."""


class RecordError(ActiumError, ValueError):
    """JSON that is not a certificate, with the place where it differs."""


class WorkerError(ActiumError, RuntimeError):
    """The process in which targets are judged cannot be started."""


class ExtraError(ActiumError, ImportError):
    """An optional package that is needed and not installed, with the command that installs it."""


class SwapError(ActiumError, RuntimeError):
    """A replacement that cannot be made, with the place and what to do instead."""


class QuadratureError(ActiumError, ArithmeticError):
    """A formula whose moments cannot be enclosed: too many pieces, or no finite moments."""


class DataError(ActiumError, ValueError):
    """Training data that is not there, cannot be read, or holds what nothing can be learned from."""


class StudyError(ActiumError, RuntimeError):
    """A training study that cannot be opened, joined, written or continued."""


class ActiumWarning(UserWarning):
    """Something works, but not the way the caller probably wants (for example, without kernels)."""
