"""Figures of chapter 22: the game's map, what a repeatable reward does, and what tables learn."""

import re
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from actde_book.ch22_text_adventures.exact import Study
from actde_nb.pages.drawing import finish, row_names
from actde_nb.pages.style import BLACK, BLUE, GREY, LOOK, METHODS, SERIES, VERMILION, figure, panels
from actde_nb.worlds.adventure import Adventure

STEPS = {"north": (0, 1), "east": (1, 0), "south": (0, -1), "west": (-1, 0)}
THINGS = {"red coin": (VERMILION, "o"), "blue coin": (BLUE, "s"), "table": (GREY, "D"), "box": (GREY, "P")}
ARMS = {"policy gradient": LOOK["policy_gradient"] | {"marker": "o"}, "ACTDE": METHODS["ACTDE"]}


def plan(world: Adventure) -> tuple[dict[str, tuple[int, int]], set[frozenset[str]], dict[str, str]]:
    """Where the rooms lie, the first at (0, 0), the ways between them, and each thing's room at first; as recorded."""
    states = world.record["states"]
    rooms = [re.search(r"-= (\w+) =-", state["description"])[1].lower() for state in states]
    places, ways, things, ahead = {rooms[0]: (0, 0)}, set(), {}, [0]
    for number in ahead:
        here = rooms[number]
        for command, told in states[number]["commands"].items():
            verb, _, thing = command.partition(" ")
            if verb == "go":
                there, (across, up) = rooms[told["to"]], STEPS[thing]
                ways.add(frozenset((here, there)))
                if there not in places:
                    places[there] = places[here][0] + across, places[here][1] + up
                    ahead.append(told["to"])
            elif verb in ("take", "open"):
                things[thing] = here
    for room, state in zip(rooms, states, strict=True):
        if any(command.endswith("on table") for command in state["commands"]):
            things["table"] = room
    return places, ways, things


@figure
def game_map(world: Adventure) -> Figure:
    """Rooms, ways between them, and the things in them, as the record has them."""
    fig, axes = panels(height=3.6)
    places, ways, things = plan(world)
    for one, other in ways:
        axes.plot(*zip(places[one], places[other], strict=True), color=GREY, linewidth=3, zorder=0)
    for room, (x, y) in places.items():
        look = {"boxstyle": "round,pad=0,rounding_size=0.06", "facecolor": "#f6f8fa", "edgecolor": BLACK}
        axes.add_patch(FancyBboxPatch((x - 0.38, y - 0.3), 0.76, 0.6, linewidth=1.5, **look))
        start = " (start)" if (x, y) == (0, 0) else ""
        axes.text(x, y + 0.2, room + start, ha="center", va="top", fontsize=13)
    for thing, room in things.items():
        (x, y), (color, marker) = places[room], THINGS[thing]
        axes.plot(x - 0.28, y - 0.12, marker=marker, color=color, markersize=11)
        axes.text(x - 0.19, y - 0.12, thing, va="center", fontsize=12)
    across, up = zip(*places.values(), strict=True)
    axes.set(xlim=(min(across) - 0.5, max(across) + 0.5), ylim=(min(up) - 0.4, max(up) + 0.4), aspect="equal")
    axes.axis("off")
    return fig


@figure
def repeatable(
    discounts: Float[np.ndarray, "discounts"], wins: Mapping[float, Float[np.ndarray, "discounts"]], boundary: float
) -> Figure:
    """Share of games that ACTDE's rest wins over the discount, a line for each ratio of steps; dotted: the boundary."""
    fig, axes = panels(height=3.8)
    for (ratio, shares), look in zip(wins.items(), SERIES, strict=False):
        axes.plot(discounts, shares, label=f"rest of ACTDE, $k = {ratio:g}$", markevery=5, **look)
    best = {"label": "best policy without a clock", **LOOK["theory"]}
    axes.plot([discounts[0], boundary, boundary, discounts[-1]], [1, 1, 0, 0], **best)
    axes.set(xlim=(discounts[0], discounts[-1]), ylim=(-0.03, 1.03))
    return finish(axes, "lower left", xlabel="discount $\\gamma$", ylabel="share of games won")


@figure
def learned(studies: Mapping[str, Study], rests: Mapping[str, Study]) -> Figure:
    """Each trial's share of the red coin in its wins, and its entropy; bars: where ACTDE rests."""
    fig, (coins, variety) = panels(2, height=0.42 * len(studies) + 0.9)
    for row, (label, found) in enumerate(studies.items()):
        look = ARMS["policy gradient" if label.startswith("policy") else "ACTDE"]
        mark = {"color": look["color"], "marker": look["marker"], "linestyle": "", "markersize": 6, "alpha": 0.55}
        shift = row + np.linspace(-0.25, 0.25, len(found.wins))
        for axes, values in ((coins, found.red / found.wins), (variety, found.entropy)):
            axes.plot(values, shift, **mark)
        if label in rests:
            bar = {"color": BLACK, "linewidth": 2}
            coins.plot([rests[label].red / rests[label].wins] * 2, [row - 0.4, row + 0.4], **bar)
            variety.plot([rests[label].entropy] * 2, [row - 0.4, row + 0.4], **bar)
    for axes in (coins, variety):
        row_names(axes, list(studies))
    coins.set(xlabel="share of the red coin in the wins", xlim=(-0.03, 1.03))
    variety.set(xlabel="entropy of a game (nats)", xlim=(-0.1, None))
    return fig
