import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinup.errors import UsageError
from spinup.period import parse_period, parse_years


@pytest.mark.parametrize(
    ("text", "years"), [("60 years", 60), ("1 year", 1), (" 2.5years ", 2.5), ("73 days", 0.2), (7, 7), ("1e2", 100)]
)
def test_budgets(text, years):
    assert parse_years(text) == pytest.approx(years)


@pytest.mark.parametrize("text", ["1.2.3 years", "years", "60 yrs", "sixty years", "-1 years", "0", "", "5 5"])
def test_what_is_no_budget(text):
    with pytest.raises(UsageError):
        parse_years(text)


@given(steps=st.integers(1, 10_000), dt=st.sampled_from([3600.0, 43200.0, 86400.0]))
def test_whole_numbers_of_steps(steps, dt):
    period = parse_period(f"{steps * dt / 86400.0!r} days", dt=dt, days_per_year=366)
    assert period.steps == steps
    assert period.years == pytest.approx(steps * dt / 86400.0 / 366)


def test_a_year_is_the_models_year():
    assert parse_period("1 year", dt=86400.0, days_per_year=366).steps == 366
    assert parse_period("5 years", dt=43200.0, days_per_year=360).steps == 3600


def test_no_whole_number_of_steps_names_the_neighbours():
    with pytest.raises(UsageError, match="take 2 or 3 steps"):
        parse_period("60 hours", dt=86400.0, days_per_year=365)
