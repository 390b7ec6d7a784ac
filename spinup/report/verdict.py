"""What the numbers of a report mean, in sentences. Nothing is said that was not measured."""

from typing import Any

from spinup.report import words
from spinup.report.audit_verdict import decay_words, probe_words, repeated_words
from spinup.report.budgets import budget_words

REGRESSED = 1.2  # the last drift is said to be above the lowest from this factor on


def sentences(numbers: dict[str, Any]) -> list[str]:
    """The verdict on the first run: what happened, how it ended, against direct integration, against the truth."""
    subject = numbers["runs"][0]
    found = [headline(subject), ending(subject), mean_state(subject), *distances(subject), *audited(numbers)]
    if subject["drift"]["last"] is not None:
        found += [*estimates_against_direct(numbers), against_direct(numbers), *against_exact(numbers)]
    return [sentence for sentence in found if sentence]


def distances(run: dict[str, Any]) -> list[str]:
    """The estimated distance to equilibrium at the end."""
    found = []
    for name, e in run["error_estimates"].items():
        what = f"the rms distance of {name} to the equilibrium it approaches"
        size = f"{words.number(e['last'])} {e['units']}".rstrip()
        by = "" if run["estimate_from"] == "operator" else ", going by how its residual changed alone"
        found.append(f"At its end {what} is an estimated {size}{_between(e)}{by}.")
    return found


def _between(e: dict[str, Any]) -> str:
    low, high = e["interval"]
    if low is None or high is None:
        return ""
    return f", between {words.number(low, 2)} and {words.number(high, 2)} {e['units']}".rstrip()


def mean_state(run: dict[str, Any]) -> str:
    """How well the mean is known that the state wanders about, where the run found one."""
    if (mean := run["mean_state"]) is None:
        return ""
    errors = ", ".join(
        f"{words.number(e['rms'])} {e['units']} of {name}".replace("  ", " ")
        for name, e in mean["standard_error"].items()
    )
    years = words.years(mean["model_years"])
    return f"The state wanders; its mean, seen over {years}, is kept, with a standard error of {errors} rms."


def audited(numbers: dict[str, Any]) -> list[str]:
    """What came of integrating the end on, where that was done: the verdict, what still changes, and the probes."""
    if (audit := numbers["audit"]) is None:
        return []
    variables = numbers["runs"][0]["variables"]
    moved = ", ".join(
        f"{name} by {words.number(distance)} {variables[name]['units'].removesuffix('per year')}".rstrip()
        for name, distance in audit["moved"].items()
    )
    columns = (
        f"; {n} water column{'s are' if n > 1 else ' is'} mixed to another depth"
        if (n := audit["columns_changed"])
        else ""
    )
    years = words.years(audit["years"])
    said = decay_words(audit["decay"], {name: f["decay"] for name, f in audit["foreseen"].items()})
    found = [
        f"Its end was integrated on for {years} and moved, {moved} rms{columns}{'; ' if said else ''}{said}: "
        f"{audit['verdict']}."
    ]
    if audit["budgets"]:
        budgets = "; ".join(budget_words(name, budget) for name, budget in audit["budgets"].items())
        volume = "; its volume is constant, under a rigid lid" if audit["rigid_lid"] else ""
        found.append(f"In the last of these years its means changed, {budgets}{volume}.")
    if differs := repeated_words(audit["repeated"]):
        found.append(f"{differs[0].upper()}{differs[1:]}.")
    return found + [f"Probed, {probe_words(made)}." for made in audit["probes"].values()]


def estimates_against_direct(numbers: dict[str, Any]) -> list[str]:
    """Model years that direct integration needed to the same estimated error."""
    versus = numbers["versus_direct"]
    found = []
    for name, v in (versus["error_estimates"] if versus else {}).items():
        if v is None:
            continue
        units = numbers["runs"][0]["error_estimates"][name]["units"]
        mine = f"Its least estimated error of {name}, {words.number(v['level'])} {units}, was there after "
        mine += words.years(v["subject_years"])
        if v["reference_years"] is None:
            theirs = f"direct integration was {words.number(v['reference_last'])} {units} away after "
            found.append(f"{mine}; {theirs}{words.years(v['reference_total_years'])}.")
        else:
            found.append(f"{mine}; direct integration needed {words.years(v['reference_years'])}{_factor(v['ratio'])}.")
    return found


def headline(run: dict[str, Any]) -> str:
    """Method, case, model years, drift from and to."""
    method, drift, unit = words.method_words(run["method"]), run["drift"], run["drift_units"]
    subject = f"{words.capital(method)} of {run['case']}"
    if not run["evaluations"]:
        return f"{subject}: nothing has been evaluated yet."
    if run["evaluations"] == run["failures"] == 1:
        return f"{subject}: its one evaluation failed, so there is no state to show."
    if drift["last"] is None:
        return f"{subject}: all {run['evaluations']} evaluations failed, so there is no state to show."
    if run["evaluations"] - run["failures"] == 1:
        return f"{subject}: one evaluation gave a state, with a drift of {words.number(drift['last'])} {unit}."
    return (
        f"{words.capital(method)} took {run['case']} from a drift of {words.number(drift['first'])} to "
        f"{words.number(drift['last'])} {unit} in {words.years(run['model_years'])}."
    )


def ending(run: dict[str, Any]) -> str:
    """How the run ended, and what that leaves open."""
    tolerance = f"{words.plain(run['tolerance'])} {run['tolerance_units']}"
    measure = run["tolerance_of"]
    lowest, last = run["drift"]["lowest"], run["drift"]["last"]
    seen = ""
    if lowest is not None and last > REGRESSED * lowest:
        seen = f" Its lowest drift was {words.number(lowest)}, after {words.years(run['drift']['lowest_model_years'])}."
    match run["outcome"]:
        case "converged":
            return f"It converged: the {measure} is at or below the tolerance of {tolerance}."
        case "floor":
            return f"It ended at the noise floor: the model's own variability hides what is left to go.{seen}"
        case "budget":
            spent = "the budget is spent and"
            return f"It did not converge: {spent} the {measure} is above the tolerance of {tolerance}.{seen}"
        case "stalled":
            return f"It stalled: the {measure} no longer fell and is above the tolerance of {tolerance}.{seen}"
        case "unstable":
            return f"It ended unstable: the model failed in {run['failures']} of {_evaluations(run)}.{seen}"
        case "stopped":
            return (
                f"It was stopped by the user before it reached the tolerance of {tolerance}, and can be resumed.{seen}"
            )
        case "running":
            return f"It is still running: these are the numbers so far.{seen}"
        case "interrupted":
            return f"It was interrupted before it ended, and can be resumed.{seen}"
    return f"It ended as “{run['outcome']}”.{seen}"


def against_direct(numbers: dict[str, Any]) -> str:
    """Model years that direct integration needed to the same drift."""
    subject, versus = numbers["runs"][0], numbers["versus_direct"]
    if subject["method"] == "picard":
        return ""
    if versus is None:
        return "There is no run of direct integration beside it, so how many model years it saved is not known."
    found, unit = versus["drift"], subject["drift_units"]
    if subject["start_years"] and found["subject_years"] <= subject["start_years"]:
        return "Its drift was lowest in its direct phase: the method has not improved on direct integration yet."
    mine = f"its lowest drift, {words.number(found['level'])} {unit}, after {words.years(found['subject_years'])}"
    if found["reference_years"] is None:
        return (
            f"It reached {mine}; direct integration ({versus['reference']}) did not within its "
            f"{words.years(found['reference_total_years'])}, and drifted by {words.number(found['reference_last'])} "
            f"at their end."
        )
    return (
        f"It reached {mine}; direct integration ({versus['reference']}) had the same drift after "
        f"{words.years(found['reference_years'])}{_factor(found['ratio'])}."
    )


def against_exact(numbers: dict[str, Any]) -> list[str]:
    """The true error, where the case has an exact answer."""
    subject, versus = numbers["runs"][0], numbers["versus_direct"]
    found = []
    for name, error in (subject["errors"] or {}).items():
        if error["last"] is None:
            continue
        sentence = (
            f"Against the exact answer, the rms error of {name} went from {words.number(error['first'])} to "
            f"{words.number(error['last'])} {error['units']}".rstrip()
        )
        direct = versus["errors"].get(name) if versus else None
        if direct and direct["reference_years"] is not None:
            sentence += (
                f"; direct integration needed {words.years(direct['reference_years'])} to its lowest error, "
                f"{words.number(direct['level'])}, which this run had after {words.years(direct['subject_years'])}"
            )
        elif direct:
            sentence += (
                f"; that of direct integration was {words.number(direct['reference_last'])} after "
                f"{words.years(direct['reference_total_years'])}"
            )
        found.append(sentence + ".")
    return found


def caveats(numbers: dict[str, Any]) -> list[str]:
    """How not to read the numbers."""
    subject = numbers["runs"][0]
    if subject["drift"]["last"] is None:
        return []
    found = ["Drift is not distance to equilibrium: a state that drifts slowly may still be far from it."]
    if subject["errors"]:
        found.append("The distance is known here because the case has an exact answer.")
    elif subject["error_estimates"] and subject["estimate_from"] == "operator":
        found.append(
            "The estimated distance is to the equilibrium that this run approaches. Where it was measured it was "
            "mostly within a factor of three of the true one; it does not say which of several equilibria that is."
        )
    else:
        found.append(
            "The estimated distance goes by how the residual changed from one state to the next: of slow modes that "
            "have not shown, or that noise hides, it knows nothing."
            if subject["error_estimates"]
            else "How far is not known here."
        )
    if subject["method"] != "picard":
        found.append("Equal drift does not mean equal distance, least of all between two methods.")
    return found


def _factor(ratio: float) -> str:
    if ratio >= 1.05:
        return f", {words.number(ratio, 2)} times as many"
    return ", about as many" if ratio > 0.95 else ", which is fewer"


def _evaluations(run: dict[str, Any]) -> str:
    return f"{run['evaluations']} evaluation{'' if run['evaluations'] == 1 else 's'}"
