"""The sweep finds one wrong input among millions, counts exactly, and goes on where it was interrupted."""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from unittest import mock

import numpy as np
import pytest
import torch

from actium.catalogue import get
from actium.errors import CheckError
from actium.exhaustive import certify, check_full
from actium.exhaustive.pieces import number
from actium.exhaustive.sweep import _Run
from actium.kernels.toolchain import kernels_enabled
from actium.symbolic.parse import parse
from actium.targets import resolve
from actium.verify.checks import REGISTRY
from actium.verify.encodings import stratified
from actium.verify.run import check
from actium.verify.subject import Subject

pytestmark = pytest.mark.skipif(not kernels_enabled(), reason="no C compiler")

SILU = parse("silu(x)")
NUMERIC = tuple(i for i, c in REGISTRY.items() if c.family in ("numerics", "gradients"))
LONE = 0x3F812345  # 1.0088…, one of 2^23 in its exponent


class Changed(torch.autograd.Function):
    """SiLU, with an edit of the output and one of the gradient."""

    @staticmethod
    def forward(ctx, x, edit, edit_gradient):
        ctx.save_for_backward(x)
        ctx.edit_gradient = edit_gradient
        y = x.double() * torch.sigmoid(x.double())
        return edit(x, torch.where(x == -math.inf, 0.0, y).to(x.dtype))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x.double())
        slope = s * (1 + x.double() * torch.sigmoid(-x.double()))
        slope = torch.where(x.isinf(), (x > 0).double(), slope).to(x.dtype)
        return grad * ctx.edit_gradient(x, slope), None, None


def keep(x, y):
    return y


def changed(edit=keep, edit_gradient=keep):
    return Subject("changed", lambda x: Changed.apply(x, edit, edit_gradient), SILU)


def full(subject, units, **options):
    """Without the checks that look at no number, which take longer than a few exponents."""
    with mock.patch.object(certify, "check", functools.partial(check, only=NUMERIC)):
        return check_full(subject, dtypes=("float32",), units=units, **options)


def off_by(steps):
    """Move every result of |x| in [2^-9, 2^-8) by some encodings, in float32."""

    def edit(x, y):
        inside = (x.abs() >= 2.0**-9) & (x.abs() < 2.0**-8)
        moved = (y.view(torch.int32) + steps).view(torch.float32) if y.dtype == torch.float32 else y
        return torch.where(inside, moved, y)

    return edit


def one_wrong(x, y):
    return torch.where(x == number(LONE), y * (1 + 2.0**-20), y)


def flushed(x, y):
    return torch.where(y.abs() < 2.0**-126, 0.0 * y, y) if y.dtype == torch.float32 else y


def negated_in_one_binade(x, slope):
    return torch.where((x >= 2.0**60) & (x < 2.0**61), -slope, slope)


def test_sound_functions_pass():
    certificate = check_full(changed(), dtypes=("float32",), units=[0, 127, 128, 254, 383, 510])
    assert certificate.passed
    assert not [f for f in certificate.findings if f.check != "duplicate" and f.dtype == "float32"]
    facts = certificate.properties["exhaustive"]
    assert facts["compared"] == 6 << 23
    assert facts["undecided"] == 0
    accuracy = certificate.accuracy["float32"]
    assert 0.4 < accuracy["output"].max_ulp <= facts["at_most_ulp"]["output"] < 0.51
    assert facts["reference_bound_ulp"] < 2.0**-10


def test_one_wrong_input_is_found():
    found = [f for f in full(changed(one_wrong), [127]).findings if f.subject == "output" and f.dtype == "float32"]
    assert [(f.check, f.count, f.tested) for f in found] == [("precision-loss", 1, 1 << 23)]
    assert found[0].worst is not None
    assert found[0].worst.x == number(LONE)
    assert found[0].region == (number(LONE), number(LONE))
    assert "1 of 8,388,608 finite inputs" in found[0].message


def test_an_error_of_twelve_ulp_in_one_binade_is_counted_exactly():
    certificate = full(changed(off_by(12)), [117, 118, 119])
    (finding,) = certificate.of("precision-loss")
    assert finding.count == 1 << 23
    assert finding.region == (2.0**-9, float(np.nextafter(np.float32(2.0**-8), np.float32(0))))
    assert certificate.accuracy["float32"]["output"].max_ulp == pytest.approx(12.5, abs=0.02)


def test_an_error_of_three_ulp_is_within_the_budget():
    assert not full(changed(off_by(3)), [118]).of("precision-loss")


def test_flushed_subnormals_are_no_false_zeros_but_cost_ulp():
    # 2^-126 is the smallest normal number: below it a result of 0 is off by its own size in the smallest steps.
    certificate = full(changed(flushed), [0, 1])
    (finding,) = [f for f in certificate.findings if f.dtype == "float32" and f.subject == "output"]
    assert finding.check == "precision-loss"
    assert finding.count > 1 << 23
    assert certificate.accuracy["float32"]["output"].max_ulp > 1e6


def test_a_sign_error_of_the_gradient_in_one_binade_is_found():
    certificate = full(changed(edit_gradient=negated_in_one_binade), [127 + 59, 127 + 60, 127 + 61])
    (finding,) = [f for f in certificate.of("precision-loss") if f.subject == "gradient"]
    assert finding.count == 1 << 23
    assert finding.region is not None
    assert finding.region[0] == 2.0**60


def test_nan_payloads_must_come_out_as_nan():
    def numb(x, y):
        payload = (x.view(torch.int32) & 0x7FFFFFFF) == 0x7F800123 if x.dtype == torch.float32 else x != x
        return torch.where(payload & (x != x), 0.0, y)

    certificate = full(Subject("numb", lambda x: numb(x, x * torch.sigmoid(x)), SILU), [127, 255])
    assert certificate.properties["exhaustive"]["nan_lost"]["output"] >= 1


def test_overflow_where_the_value_is_finite_is_found_in_every_place():
    naive = Subject("naive", lambda x: x * torch.exp(x) / (1 + torch.exp(x)), SILU)
    certificate = full(naive, [127 + 6, 127 + 7])
    finding = next(f for f in certificate.of("non-finite-output") if f.dtype == "float32")
    assert finding.severity == "fail"
    assert finding.region is not None
    assert finding.region[1] == float(np.nextafter(np.float32(256), np.float32(0)))
    assert finding.count > 1 << 23


def test_an_interrupted_run_goes_on_and_gives_the_same(tmp_path):
    units = [118, 119, 127]
    whole = full(changed(off_by(12)), units)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        full(changed(off_by(12)), units, out=tmp_path, progress=stop)
    (journal,) = tmp_path.glob("*.jsonl")
    with journal.open("a") as file:
        file.write('{"index": 119, "compar')  # killed while writing
    computed = []
    unit = _Run.unit

    def counted(self, index, *rest):
        computed.append(index)
        return unit(self, index, *rest)

    with mock.patch.object(_Run, "unit", counted):
        again = full(changed(off_by(12)), units, out=tmp_path)
    assert computed == units[2:]
    assert len(json.loads(journal.read_text().splitlines()[0])) > 5
    assert again.findings == whole.findings
    assert again.accuracy == whole.accuracy


def test_other_code_does_not_go_on_with_these_results(tmp_path):
    assert full(changed(off_by(12)), [118], out=tmp_path).of("precision-loss")
    assert not full(changed(), [118], out=tmp_path).of("precision-loss")


EDITED = """
import torch
from edit_of_sweep import edit

class Silu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        y = x.double() * torch.sigmoid(x.double())
        return edit(x, torch.where(x == -float("inf"), 0.0, y).to(x.dtype))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x.double())
        slope = s * (1 + x.double() * torch.sigmoid(-x.double()))
        return grad * torch.where(x.isinf(), (x > 0).double(), slope).to(x.dtype)
"""
SOUND = "def edit(x, y):\n    return y\n"
WRONG_AT_ONE = f"import torch\ndef edit(x, y):\n    return torch.where(x == {number(LONE)!r}, y * (1 + 2.0**-20), y)\n"


def in_files(folder, edit):
    """A function of two files, as a new process imports it."""
    (folder / "step_of_sweep.py").write_text(EDITED)
    (folder / "edit_of_sweep.py").write_text(edit)
    with mock.patch.dict(sys.modules):
        return Subject("step", resolve(f"{folder}/step_of_sweep.py:Silu").value, SILU)


def test_an_edit_that_the_sample_does_not_see_is_swept_anew(tmp_path):
    kept, sampled = tmp_path / "kept", stratified(torch.float32).numpy().view(np.uint32)
    assert LONE not in sampled
    before = in_files(tmp_path, SOUND)
    assert not full(before, [127], out=kept).of("precision-loss")
    after = in_files(tmp_path, WRONG_AT_ONE)
    assert certify.trust(before) == certify.trust(after)  # What the sample sees is the same.
    (finding,) = [f for f in full(after, [127], out=kept).of("precision-loss") if f.dtype == "float32"]
    assert finding.count == 1
    assert len(list(kept.glob("*.jsonl"))) == 2


def test_the_journal_goes_when_all_exponents_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(certify, "UNITS", [0, 127])
    full(changed(), [127], out=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    full(changed(), [0, 127], out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_of_code_that_is_in_no_file_nothing_is_taken_up(tmp_path):
    scope = {"__name__": "nowhere_of_sweep"}
    exec("def silu(x):\n    return x * (x / 2).tanh() / 2 + x / 2\n", scope)
    full(Subject("silu", scope["silu"], SILU), [127], out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_target_without_formula_is_refused_with_what_to_do():
    with pytest.raises(CheckError, match="needs a formula"):
        full(Subject("opaque", torch.nn.functional.silu), [127])


@pytest.mark.slow
@pytest.mark.skipif("ACTIUM_EXHAUSTIVE" not in os.environ, reason="ACTIUM_EXHAUSTIVE is not set")
@pytest.mark.parametrize("name", ["silu", "mish", "gelu"])
def test_catalogue_function_over_all_inputs(name):
    entry = get(name)
    certificate = full(Subject(name, entry.activation(), entry.as_written(), entry.defaults), range(512))
    assert certificate.properties["exhaustive"]["compared"] == 510 << 23
    assert certificate.passed
