"""A project's own activations in its own tests. From the root of the repository:

pytest examples/test_activations.py --actium-budget examples/budget.toml
"""

import pytest
from pasted import Leak

from actium.pytest_plugin import assert_activation


def test_leak_is_the_function_that_its_name_says():
    assert_activation(Leak(), formula="where(x > 0, x, x / 8)", dtypes=["float16"], max_ulp=0.5)


@pytest.mark.activation("examples/pasted.py:Leak")
def test_leak_keeps_to_its_budget():
    pass
