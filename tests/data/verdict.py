"""Recomputes the verdicts of a CompareCampaigns answer from the answer alone.

python verdict.py < comparison.json > verdict.json, with the answer as grpcurl prints it, and scipy. The method is in
the comment of ComparedPair in performance.proto.
"""

import json
import math
import sys

from scipy.integrate import quad
from scipy.optimize import minimize_scalar


def rare_side(metric, x1, n1, x2, n2):
    """What the evidence counts, such as replies, and for delivery failures."""
    return (n1 - x1, n1, n2 - x2, n2) if metric == "METRIC_DELIVERY" else (x1, n1, x2, n2)


def shared_days(one, other):
    """Successes and sizes of both, on each day on which both ran."""
    ones, others = ({d["day"]: (int(d.get("numerator", 0)), int(d["denominator"])) for d in days} for days in (one, other))
    return [(*ones[day], *others[day]) for day in sorted(ones.keys() & others.keys())]


def ln_e(days):
    def ln_f(t):
        ratios = (t * x1 - (x1 + x2) * math.log((n1 * math.exp(t) + n2) / (n1 + n2)) for x1, n1, x2, n2 in days)
        return sum(ratios) - t**2 / (2 * 0.25) - math.log(0.5 * math.sqrt(2 * math.pi))

    mode = minimize_scalar(lambda t: -ln_f(t), bounds=(-20, 20), method="bounded").x
    edges = [mode + side * 2.0**power for side in (-1, 1) for power in range(-9, 2)]
    area = quad(lambda t: math.exp(ln_f(t) - ln_f(mode)), mode - 4, mode + 4, points=edges, epsrel=1e-12, limit=1000)[0]
    return ln_f(mode) + math.log(area)


def difference(days):
    """The difference of the rates of each day, weighted as by Mantel and Haenszel."""
    weights = [n1 * n2 / (n1 + n2) for _, n1, _, n2 in days]
    return sum(w * (x1 / n1 - x2 / n2) for w, (x1, n1, x2, n2) in zip(weights, days)) / sum(weights)


answer, verdicts = json.load(sys.stdin), []
threshold = math.log((len(answer["campaigns"]) - 1) / 0.05)
for metric in (comparison["metric"] for comparison in answer["comparisons"]):
    days = {c["campaign"]: r.get("days", []) for c in answer["campaigns"] for r in c["rates"] if r["metric"] == metric}
    leaders = []
    pairs = []
    for one in days:
        shown = []
        for other in days.keys() - {one}:
            shared = shared_days(days[one], days[other])
            pairs.append({"one": one, "other": other, "shared_days": len(shared)})
            if shared:
                pairs[-1] |= {"ln_e": ln_e([rare_side(metric, *day) for day in shared]), "difference": difference(shared)}
            shown.append(bool(shared) and pairs[-1]["ln_e"] >= threshold and pairs[-1]["difference"] > 0)
        leaders += [one] if all(shown) else []
    pairs.sort(key=lambda pair: (pair["one"], pair["other"]))
    verdicts.append({"metric": metric, "leaders": leaders, "ln_threshold": threshold, "pairs": pairs})
print(json.dumps(verdicts, indent=1))
