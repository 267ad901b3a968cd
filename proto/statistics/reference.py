"""Computes reference.json, which the tests of the statistics compare with to 1e-9.

Run by hand in an environment with scipy, statsmodels and mpmath: python reference.py > reference.json
Intervals and adjusted p-values are statsmodels', quantiles scipy's. The rest is computed by mpmath with 50 digits from
the definitions, since scipy loses digits at a billion; where scipy has the function, its value is checked first.
"""

import json
import math
import random
import sys

import mpmath as mp
import scipy
import statsmodels
from scipy import special, stats
from scipy.optimize import brentq
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

mp.mp.dps = 50
rng = random.Random(18)
SD = 0.5


def wilson(count, size):
    low, high = proportion_confint(count, size, alpha=0.05, method="wilson")
    return [float(low), float(high)]


def newcombe(x1, n1, x2, n2):
    low, high = confint_proportions_2indep(x1, n1, x2, n2, method="newcomb", compare="diff", alpha=0.05)
    return [float(low), float(high)]


def ln_likelihood_ratio(t, days):
    return sum(t * x1 - (x1 + x2) * mp.log(mp.mpf(n1) / (n1 + n2) * mp.expm1(t) + 1) for x1, n1, x2, n2 in days)


def ln_e(days):
    """The definition: ln of the mean of exp(L(t)) over t ~ Normal(0, 0.5^2)."""
    days = [day for day in days if day[1] > 0 and day[3] > 0]

    def slope(t):
        shares = [mp.mpf(n1) * mp.exp(t) / (n1 * mp.exp(t) + n2) for _, n1, _, n2 in days]
        return float(sum(x1 - (x1 + x2) * share for (x1, _, x2, _), share in zip(days, shares)) - t / SD**2)

    mode = mp.mpf(brentq(slope, -60, 60, xtol=1e-14))
    shares = [mp.mpf(n1) * mp.exp(mode) / (n1 * mp.exp(mode) + n2) for _, n1, _, n2 in days]
    width = 1 / mp.sqrt(sum((x1 + x2) * s * (1 - s) for (x1, _, x2, _), s in zip(days, shares)) + 1 / SD**2)
    top = ln_likelihood_ratio(mode, days) - mode**2 / (2 * SD**2)
    f = lambda t: mp.exp(ln_likelihood_ratio(t, days) - t**2 / (2 * SD**2) - top)
    edges = [mode + k * width for k in (-16, -10, -6, -3, -1, 1, 3, 6, 10, 16)]
    return float(top + mp.log(mp.quad(f, edges) / (SD * mp.sqrt(2 * mp.pi))))


def upper_tail(x, marked, draws, population):
    """P(X >= x), hypergeometric, from logarithms of gamma functions with 50 digits and the ratio of neighbours."""
    low, high = max(0, draws + marked - population), min(draws, marked)
    if x <= low:
        return 1.0
    ln_choose = lambda n, k: mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)
    term = mp.exp(ln_choose(marked, x) + ln_choose(population - marked, draws - x) - ln_choose(population, draws))
    total, k = mp.mpf(0), x
    while k <= high and term > total * mp.mpf(10) ** -30:
        total += term
        term *= mp.mpf((marked - k) * (draws - k)) / ((k + 1) * (population - marked - draws + k + 1))
        k += 1
    return float(total)


def fisher(x1, n1, x2, n2):
    p = upper_tail(x1, x1 + x2, n1, n1 + n2)
    if n1 + n2 < 10**6:
        by_scipy = stats.fisher_exact([[x1, n1 - x1], [x2, n2 - x2]], alternative="greater").pvalue
        assert math.isclose(p, by_scipy, rel_tol=1e-8, abs_tol=1e-300), (x1, n1, x2, n2, p, by_scipy)
    return p


def ln_binomial_likelihood(x, n):
    p = mp.mpf(x) / n
    return (x * mp.log(p) if x else 0) + ((n - x) * mp.log(1 - p) if n > x else 0)


def change(days):
    """All candidates: twice the logarithm of the likelihood ratio if the rate changes before day i."""
    total = [sum(column) for column in zip(*days)]
    ratios = []
    for i in range(1, len(days)):
        before = [sum(column) for column in zip(*days[:i])]
        after = [sum(column) for column in zip(*days[i:])]
        ratios.append(float(2 * (ln_binomial_likelihood(*before) + ln_binomial_likelihood(*after) - ln_binomial_likelihood(*total))))
    best = max(range(len(ratios)), key=lambda i: ratios[i])
    likely = [i + 1 for i, ratio in enumerate(ratios) if ratios[best] - ratio <= stats.chi2.isf(0.05, 1)]
    threshold = float(stats.chi2.isf(0.01 / (len(days) - 1), 1))
    return {"ratio": ratios[best], "threshold": threshold, "since": best + 1, "earliest": likely[0], "latest": likely[-1]}


def counts(n, p):
    return sum(rng.random() < p for _ in range(n))


B = 10**9
rates = [(0, 1), (1, 1), (0, 2), (2, 2), (1, 2), (0, 20), (20, 20), (3, 100), (95, 100), (80, 100), (799, 1000)]
rates += [(0, B), (B, B), (1, B), (50_000_000, B)]
rates += [(rng.randint(0, n), n) for n in (3, 7, 30, 411, 12_345)]

two = [(0, 1, 0, 1), (1, 1, 0, 1), (0, 5, 5, 5), (9, 10, 3, 10), (56, 70, 48, 80), (10, 10, 0, 20), (0, B, 1, B)]
two += [(50_000_000, B, 51_000_000, B), (23, 760, 46, 760)]
two += [(rng.randint(0, a), a, rng.randint(0, b), b) for a, b in ((2, 3), (17, 400), (5_000, 4_000), (99, 98))]

strata = [
    [(8, 100, 8, 100)], [(23, 760, 46, 760)], [(0, 1, 0, 1)], [(1, 1, 1, 1)], [(1, 1, 0, 1)], [(1000, 1000, 0, 1000)],
    [(0, 1000, 1, 1)], [(1, 1, 1000, 1000)], [(250, 5_000, 300, 5_000)], [(50_000, 10**6, 55_000, 10**6)],
    [(10**8, B, 101 * 10**6, B)], [(0, B, B, B)], [(B, B, 0, 1)], [(0, 1, B, B)], [(B, B, B, B)], [(1, B, 0, B)],
    [(5, 10, 0, 0), (3, 100, 6, 100)], [(0, 50, 0, 60)],
]
for days in (2, 7, 14, 30):
    for p1, p2 in ((0.03, 0.06), (0.05, 0.05), (0.08, 0.01)):
        sizes = [(rng.randint(1, 200), rng.randint(1, 200)) for _ in range(days)]
        strata.append([(counts(a, p1), a, counts(b, p2), b) for a, b in sizes])

accounts = [(0, 20, 0, 20), (1, 20, 0, 1), (5, 20, 30, 980), (20, 20, 0, 980), (0, 20, 30, 980), (2, 19, 30, 981)]
accounts += [(1_000_000, 10**7, 98_000_000, 990_000_000), (1_001_000, 10**7, 98_999_000, 990_000_000)]
accounts += [(3, 100, B - 3, B), (100, 100, 5, B), (20, 20, 80, 80)]
accounts += [(counts(n, p), n, counts(m, q), m) for n, p, m, q in ((40, 0.2, 900, 0.1), (200, 0.04, 5000, 0.02), (333, 0.1, 333, 0.1), (5000, 0.3, 70, 0.5))]

families = [[(counts(40, 0.05), 40) for _ in range(30)], [(counts(100, 0.3 if i < 3 else 0.05), 100) for i in range(20)]]
families.append([(counts(n, 0.1), n) for n in (5, 19, 20, 21, 400)] + [(30, 60)])

runs = []
for days, at, p, q in ((2, 1, 0.0, 1.0), (14, 9, 0.05, 0.4), (30, 20, 0.02, 0.05), (60, 1, 0.5, 0.1), (30, 15, 0.1, 0.1)):
    runs.append([(counts(n, p if day < at else q), n) for day in range(days) for n in (rng.randint(20, 80),)])
runs.append([(5 * 10**7, B)] * 5 + [(50_020_000, B)] * 5)

splits = [(100, 100, 0.5), (5_200, 4_800, 0.5), (5_300, 4_700, 0.5), (900, 9_100, 0.1), (1_100, 9_100, 0.1), (0, 9, 0.5)]
splits += [(5 * 10**8, 5 * 10**8, 0.5), (1, 0, 0.01)]

values = {
    "made_by": f"reference.py, Python {sys.version.split()[0]}, scipy {scipy.__version__}, "
    f"statsmodels {statsmodels.__version__}, mpmath {mp.__version__}",
    "wilson": [{"rate": r, "interval": wilson(*r)} for r in rates],
    "newcombe": [{"rates": r, "interval": newcombe(*r)} for r in two],
    "ln_e": [{"days": days, "ln_e": ln_e(days)} for days in strata],
    "fisher": [{"rates": r, "p": fisher(*r)} for r in accounts],
    "blame": [
        {
            "accounts": family,
            "adjusted": [
                float(p)
                for p in multipletests(
                    [
                        fisher(x, n, sum(a for a, _ in family) - x, sum(b for _, b in family) - n)
                        for x, n in family
                        if n >= 20
                    ],
                    alpha=0.05,
                    method="fdr_bh",
                )[1]
            ],
        }
        for family in families
    ],
    "change": [{"days": days, **change(days)} for days in runs],
    # One stratum whose sizes are the intended weights.
    "split": [{"leads": [a, b], "share": w, "ln_e": ln_e([(a, w, b, 1 - w)])} for a, b, w in splits],
    # ln(w exp(x^2)) of Gauss-Hermite quadrature with 41 nodes, as in hermite.rs.
    "hermite": [
        [float(x), math.log(w) + float(x) ** 2] for x, w in zip(*special.roots_hermite(41)) if x > -1e-9
    ],
}

# One case a line, so that a diff shows which changed.
lines = lambda cases: "[\n" + ",\n".join("  " + json.dumps(case) for case in cases) + "\n]"
text = [f"{json.dumps(key)}: {lines(value) if isinstance(value, list) else json.dumps(value)}" for key, value in values.items()]
print("{\n" + ",\n".join(text) + "\n}")
