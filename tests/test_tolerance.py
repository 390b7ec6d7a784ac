"""When a run is near enough."""

import numpy as np
import pytest

from spinup.errors import UsageError
from spinup.state import Layout, Variable
from spinup.tolerance import converged_below, parse_tolerance


def layout(**units: str) -> Layout:
    mask = np.ones((1, 1, 1), dtype=bool)
    return Layout(tuple(Variable(name, ("z", "y", "x"), mask, np.ones(mask.shape), u) for name, u in units.items()))


OCEAN = layout(temp="degC", salt="g/kg")


def record(drift: float | None = 1.0, **error: float) -> dict:
    return {"drift": drift, "error": error or None}


@pytest.mark.parametrize(
    ("given", "value", "unit"),
    [
        ("0.05 K", 0.05, "K"),
        (" 1e-3 g/kg ", 1e-3, "g/kg"),
        ("0.05  deg C", 0.05, "deg C"),
        ("1e-4", 1e-4, ""),
        (1e-4, 1e-4, ""),
        (2, 2.0, ""),
    ],
)
def test_an_error_has_a_unit_a_drift_none(given, value, unit):
    assert parse_tolerance(given) == {"tolerance": value, "tolerance_unit": unit}


@pytest.mark.parametrize("given", ["", "K", "K 0.05", "0.05K", "small K", None])
def test_what_is_no_number_is_refused(given):
    with pytest.raises(UsageError, match=r'must be a drift, a number, or an error like "0\.05 K"'):
        parse_tolerance(given)


@pytest.mark.parametrize("given", [0, -1e-4, "0 K", "-0.05 K", "inf", "nan K", float("nan")])
def test_a_tolerance_is_positive_and_finite(given):
    with pytest.raises(UsageError, match="must be positive and finite"):
        parse_tolerance(given)


def test_a_drift_is_that_of_the_last_record():
    near_enough = converged_below(1e-4, "", OCEAN)
    assert near_enough([record(1.0), record(1e-4)])
    assert not near_enough([record(1e-5), record(1.1e-4)])
    assert not near_enough([record(1e-5), record(None)])


def test_two_errors_in_a_row_must_be_below():
    near_enough = converged_below(0.05, "K", OCEAN)
    good, bad = record(temp=0.05, salt=9.0), record(temp=0.051, salt=0.0)
    assert near_enough([bad, good, good])
    assert not near_enough([good])
    assert not near_enough([good, good, bad])
    assert not near_enough([good, bad, good])


def test_evaluations_that_are_no_estimate_do_not_break_the_row():
    """A relaxation has no drift; an estimate that failed is no estimate below."""
    near_enough = converged_below(0.05, "K", OCEAN)
    good, relaxation, unknown = record(temp=0.01, salt=0.0), record(None), record(1.0)
    assert near_enough([good, relaxation, good])
    assert near_enough([good, good, relaxation])
    assert not near_enough([good, relaxation])
    assert not near_enough([good, unknown])
    assert not near_enough([unknown, good])


@pytest.mark.parametrize("unit", ["K", "kelvin", "degC", "Deg C", "°C", "celsius"])
@pytest.mark.parametrize("of_variable", ["K", "degC", "deg C", "Celsius"])
def test_a_difference_of_temperature_in_any_of_its_units(unit, of_variable):
    assert converged_below(0.05, unit, layout(temp=of_variable))([record(temp=0.01)] * 2)


def test_the_unit_says_which_variables_count():
    errors = [record(temp=9.0, salt=0.001)] * 2
    assert converged_below(0.01, "g/kg", OCEAN)(errors)
    assert not converged_below(0.01, "K", OCEAN)(errors)


def test_the_largest_error_of_all_variables_of_the_unit_counts():
    tracers = layout(po4="mmol m-3", dop="mmol m-3", age="years")
    near_enough = converged_below(0.1, "mmol m-3", tracers)
    assert near_enough([record(po4=0.1, dop=0.05, age=7.0)] * 2)
    assert not near_enough([record(po4=0.05, dop=0.2, age=0.0)] * 2)


def test_a_unit_of_no_variable_names_those_there_are():
    with pytest.raises(
        UsageError, match=r"0\.05 m: no accelerated variable has this unit; there are temp \(degC\), salt \(g/kg\)"
    ):
        converged_below(0.05, "m", OCEAN)
