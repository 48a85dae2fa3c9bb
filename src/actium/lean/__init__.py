"""Memory modes: what an activation keeps for its backward pass, from its input to one bit per element."""

from actium.lean.function import apply
from actium.lean.modes import MODES, Memory, MemoryMode, check_mode, check_name, modes, slope_error_text

__all__ = ["MODES", "Memory", "MemoryMode", "apply", "check_mode", "check_name", "modes", "slope_error_text"]
