"""A grammar as a graph to draw: its arrows, how often each is taken, and where the states may stand.

Sentences end, so there is no cycle: a state can stand as far down as the longest way to it, and all arrows point down
(Sugiyama, Tagawa and Toda, 1981). Arrows that pass by other rows get waypoints there."""

from typing import NamedTuple

import torch
from jaxtyping import Float

from actde_nb.worlds.grammar import START, Grammar

SWEEPS = 12  # of the ordering; more change nothing for grammars as small as ours
SLIM = 0.5  # width of a waypoint, that of a state being 1


class Arrow(NamedTuple):
    """All words that lead from one state to another, the likeliest first; ``chance`` of any of them in the state
    before, and ``flow``, how often the arrow is taken in a sentence, in the mean."""

    start: str
    end: str
    words: tuple[str, ...]
    chance: float
    flow: float


def visits(grammar: Grammar) -> Float[torch.Tensor, "state"]:
    """Expected number of visits to each state in a sentence; zero for what is not in the language."""
    inner = slice(0, grammar.end + 1)
    moves = torch.zeros(len(grammar.states), len(grammar.states), dtype=torch.float64)
    moves.scatter_add_(1, grammar.successors, grammar.chances)
    moves[grammar.end] = 0  # it is visited once
    begin = torch.zeros(grammar.end + 1, dtype=torch.float64)
    begin[grammar.states.index(START)] = 1
    found = torch.linalg.solve(torch.eye(grammar.end + 1, dtype=torch.float64) - moves[inner, inner].T, begin)
    return torch.cat([found, torch.zeros(1, dtype=torch.float64)])


def arrows(grammar: Grammar) -> list[Arrow]:
    """One for each pair of states that a word joins, in the order of the rules."""
    often, found = dict(zip(grammar.states, visits(grammar).tolist(), strict=True)), []
    for start, follow in grammar.rules.items():
        likeliest = sorted(follow.items(), key=lambda rule: -rule[1][0])
        for end in dict.fromkeys(state for _, state in follow.values()):
            taken = [(word, chance) for word, (chance, state) in likeliest if state == end]
            total = sum(chance for _, chance in taken)
            found.append(Arrow(start, end, tuple(word for word, _ in taken), total, often[start] * total))
    return found


def rows(grammar: Grammar) -> dict[str, int]:
    """Words on the longest way from the start to each state."""
    found = {START: 0}
    joined = arrows(grammar)
    for _ in grammar.rules:  # no way is longer than there are states
        for arrow in joined:
            if arrow.start in found:
                found[arrow.end] = max(found.get(arrow.end, 0), found[arrow.start] + 1)
    return found


def places(grammar: Grammar, longest: int = 3) -> dict[tuple[str, int], tuple[float, int]]:
    """Where states and waypoints may stand so that few arrows cross: place in the row, centred at 0, and the row.

    Within a row, things stand in the order of the mean place of what they are joined to in the row above, then below,
    over and over; arrows that are taken often count for more. Those further down than ``longest`` rows have no
    waypoints."""
    depth = rows(grammar)
    joined: dict[tuple[str, int], dict[tuple[str, int], float]] = {(state, row): {} for state, row in depth.items()}
    for arrow in arrows(grammar):
        if depth[arrow.end] - depth[arrow.start] <= longest:
            chain = way(depth, arrow)
            for above, below in zip(chain, chain[1:], strict=False):
                joined.setdefault(above, {})[below] = arrow.flow
                joined.setdefault(below, {})[above] = arrow.flow
    order = {row: [thing for thing in joined if thing[1] == row] for row in range(max(depth.values()) + 1)}
    at = {thing: x for row in order.values() for thing, x in _spread(row, depth).items()}
    for sweep in range(SWEEPS):
        step = 1 if sweep % 2 == 0 else -1
        for row in list(order)[::step]:

            def middle(thing: tuple[str, int], row: int = row, step: int = step) -> float:
                near = {other: flow for other, flow in joined[thing].items() if other[1] == row - step}
                total = sum(flow * at[other] for other, flow in near.items())
                return round(total / sum(near.values()), 9) if near else at[thing]

            order[row].sort(key=middle)  # stable: ties keep the order of the rules
            at.update(_spread(order[row], depth))
    return {thing: (x, thing[1]) for thing, x in at.items()}


def way(depth: dict[str, int], arrow: Arrow) -> list[tuple[str, int]]:
    """State, waypoints and state of an arrow; a waypoint is named after the arrow."""
    first, last = depth[arrow.start], depth[arrow.end]
    between = [(f"{arrow.start} → {arrow.end}", row) for row in range(first + 1, last)]
    return [(arrow.start, first), *between, (arrow.end, last)]


def _spread(row: list[tuple[str, int]], depth: dict[str, int]) -> dict[tuple[str, int], float]:
    """Places side by side around zero."""
    widths = [1.0 if state in depth else SLIM for state, _ in row]
    left = [sum(widths[:k]) + width / 2 - sum(widths) / 2 for k, width in enumerate(widths)]
    return dict(zip(row, left, strict=True))
