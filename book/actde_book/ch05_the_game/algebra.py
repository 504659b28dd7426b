"""The prisoner's dilemma against one's own last move: its payoffs by design, and who is best at which discount.

A payoff ``m_dc`` belongs to defecting now after having cooperated: move now first, move before second,
as in :data:`~actde_nb.tables.symbolic.PAYOFFS`, whose order (cc, dc, dd, cd) is used throughout."""

import functools

import sympy as sp

from actde_nb.tables.symbolic import DISCOUNT, PAYOFFS

COOPERATION, TEMPTATION = sp.symbols("a b", real=True)  # the designer's two choices: m_cc and m_dc
RATIO = sp.Symbol("rho", real=True)  # a / b; payoffs times a constant are the same game
#: Move after a cooperation and after a defection (0 cooperates, 1 defects), in the order of ``games.STRATEGIES``.
STRATEGIES = {"cooperate": (0, 0), "defect": (1, 1), "alternate": (1, 0), "repeat": (0, 1)}
#: The designer's choices behind the matrices of the published code; names are those of ``games.PAYOFFS``.
CHOICES = {
    "main": (sp.Rational(1, 2), sp.Integer(2)),
    "b=1": (sp.Rational(1, 2), sp.Integer(1)),
    "b=.7": (sp.Rational(1, 2), sp.Rational(7, 10)),
    "extreme": (-sp.Rational(2, 17), sp.Integer(2)),
    "b=3a": (sp.Rational(1, 2), sp.Rational(3, 2)),
}


def matrix() -> sp.Matrix:
    """Payoffs as symbols, indexed [move now, move before]."""
    cc, dc, dd, cd = PAYOFFS
    return sp.Matrix([[cc, cd], [dc, dd]])


@functools.cache
def strategy_returns() -> sp.ImmutableMatrix:
    """Discounted return of each strategy after each first move, [strategy, first move], from its Bellman equations."""
    values = sp.symbols("v_c v_d")
    rows = []
    for reply in STRATEGIES.values():
        bellman = [values[s] - matrix()[reply[s], s] - DISCOUNT * values[reply[s]] for s in (0, 1)]
        solution = sp.solve(bellman, values)
        rows.append([sp.factor(solution[v]) for v in values])
    return sp.ImmutableMatrix(rows)


@functools.cache
def switching_discounts() -> dict[tuple[str, int], sp.Expr]:
    """Discount at which a strategy gains nothing by one other move, for each strategy and each move before.

    Four different numbers appear; two of them compare cooperating for ever with defecting for ever."""
    bounds = {}
    for (name, reply), row in zip(STRATEGIES.items(), strategy_returns().tolist(), strict=True):
        for before in (0, 1):
            other = 1 - reply[before]
            gain = matrix()[other, before] + DISCOUNT * row[other] - row[before]
            linear = sp.numer(sp.cancel(gain))
            [bounds[name, before]] = [sp.factor(root) for root in sp.solve(linear, DISCOUNT) if root != 1]
    return bounds


@functools.cache
def equal_return_discounts() -> tuple[sp.Expr, sp.Expr]:
    """Discounts at which cooperating for ever and defecting for ever earn the same, after c and after d."""
    cooperate, defect, *_ = strategy_returns().tolist()
    gaps = [sp.numer(sp.cancel(x - y)) for x, y in zip(cooperate, defect, strict=True)]
    return tuple(sp.factor(root) for gap in gaps for root in sp.solve(gap, DISCOUNT) if root != 1)


@functools.cache
def design_condition() -> sp.Expr:
    """What must vanish for zero-sum payoffs whose equal-return discounts average one half: a quadratic in m_dd."""
    cc, dc, dd, cd = PAYOFFS
    chosen = {cc: COOPERATION, dc: TEMPTATION}
    zero_sum = {cd: -COOPERATION - TEMPTATION - dd}
    excess = sp.together((sum(equal_return_discounts()) - 1).subs(chosen).subs(zero_sum))
    return sp.expand(sp.Poly(sp.numer(sp.cancel(excess)), dd).monic().as_expr())


@functools.cache
def design() -> dict[sp.Symbol, sp.Expr]:
    """The four payoffs in terms of the two choices: the root of :func:`design_condition` below the temptation."""
    cc, dc, dd, cd = PAYOFFS
    root = min(sp.solve(design_condition(), dd), key=lambda r: r.subs({COOPERATION: 1, TEMPTATION: 2}))
    punishment = TEMPTATION - sp.sqrt(sp.expand((TEMPTATION - root) ** 2))
    if sp.simplify(design_condition().subs(dd, punishment)) != 0:
        raise ArithmeticError(f"{punishment} does not solve the design's condition")
    sucker = sp.expand(-COOPERATION - TEMPTATION - punishment)
    return {cc: COOPERATION, dc: TEMPTATION, dd: punishment, cd: sucker}


def published(name: str) -> dict[sp.Symbol, sp.Expr]:
    """Exact payoffs of one of the published code's matrices."""
    a, b = CHOICES[name]
    return {payoff: sp.simplify(x.subs({COOPERATION: a, TEMPTATION: b})) for payoff, x in design().items()}


@functools.cache
def design_discount() -> sp.Expr:
    """Equal-return discount after a cooperation, by design, in terms of the ratio a / b."""
    after_c, _ = equal_return_discounts()
    unit = {COOPERATION: RATIO, TEMPTATION: 1}
    wanted = sp.sqrt((1 - RATIO) / (2 * (1 + RATIO)))
    found = after_c.subs(design()).subs(unit)
    # Both are positive on (-1, 1), so equal squares are enough.
    if sp.simplify(found**2 - wanted**2) != 0:
        raise ArithmeticError(f"the design's discount is {found}, not {wanted}")
    return wanted


def alternation() -> sp.Expr:
    """Long-run share of alternating games, from the probabilities x, y of cooperating after c and after d."""
    x, y = sp.symbols("x y", positive=True)
    return 2 * (1 - x) * y / (1 - x + y)
