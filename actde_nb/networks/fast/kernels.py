"""The network of :mod:`actde_nb.networks.gpt`, its gradient and its sampler, for sixteen sequences at a time.

Width 12 is too small for a library: reading and writing numbers would take longer than computing with them. Here
sixteen sequences of one trial, a *group*, run through the network side by side, one in each lane of a vector
(:mod:`actde_nb.networks.fast.simd`), and what belongs together stays in registers. Nothing here is shared by two
groups, so threads can take one each.

Names follow gpt.py. The residual stream is called ``stream``; ``mixed`` is what the heads of attention give together.
Where an array has the axis ``slot``, a function writes to its own slot only.

Attention's exponentials are powers of two, so its scores are multiplied by log2(e)."""

import math  # noqa: I001 - for the names of simd on few lines
from collections import namedtuple
from typing import NamedTuple

import numpy as np

from actde_nb.networks.fast import HEADS, WIDTH
from actde_nb.networks.fast.cache import compiled, inlined
from actde_nb.networks.fast.simd import (
    HIGHEST, LANES, LOWEST, any_above, broadcast, dot, exp2, load, maximum, minimum, multiply, multiply_add, rows,
    square_root, store, store_totals, subtract, survivors, weights, zeros,
)  # fmt: skip

PART = WIDTH // HEADS  # numbers in a head
HIDDEN = 4 * WIDTH
KEYS, VALUES, INPUTS = WIDTH, 2 * WIDTH, 3 * WIDTH  # rows of ``qkv`` where keys and values start, and all rows

ZERO, ONE = np.float32(0), np.float32(1)
EPSILON, MEAN, SCALE = np.float32(1e-5), np.float32(1 / WIDTH), np.float32(1 / math.sqrt(PART))
LOG2_E, LN_2 = np.float32(math.log2(math.e)), np.float32(math.log(2))
FAR = np.float32(60)  # a sum of 128 numbers up to 2**60 is far below float32's largest
GELU_CUBE, GELU_SLOPE = np.float32(0.044715), np.float32(2 * math.sqrt(2 / math.pi))
GELU_POWER = np.float32(-2 * math.sqrt(2 / math.pi) * math.log2(math.e))

Weights = namedtuple(
    "Weights",
    "token position norm1 norm1_bias qkv qkv_bias out out_bias norm2 norm2_bias up up_bias "
    "down down_bias norm norm_bias policy value value_bias q q_bias",  # ``down`` is transposed: [..., in, out]
)
Weights.__doc__ = "Parameters, [trial, ...], or their gradients, [group, ...], in the order of ``gpt.shapes``."


class Trace(NamedTuple):
    """What the forward pass leaves for the backward pass; axes ``[slot, layer, time, row, lane]``."""

    stream: np.ndarray  # before each block, and after the last: layers + 1
    qkv: np.ndarray
    softmax: np.ndarray  # per head what is added to the scores; then per head 1 / the sum of their powers
    mixed: np.ndarray
    middle: np.ndarray  # the stream between attention and perceptron
    said: np.ndarray  # logits, value, q; one layer


class Coins(NamedTuple):
    """Dropout's coins, which :mod:`actde_nb.networks.dropout` describes; None instead: nothing is dropped."""

    keys: np.ndarray  # of each sequence: [group, lane]
    threshold: np.uint32
    scale: np.float32


def trace_shapes(slots, w, time):
    """Shapes of the arrays of a trace."""
    layers, said, stream = w.norm1.shape[1], 2 * w.policy.shape[1] + 1, (w.norm1.shape[1], WIDTH)
    sizes = Trace((layers + 1, WIDTH), (layers, INPUTS), (layers, 2 * HEADS), stream, stream, (1, said))
    return [(slots, layers, time, rows, LANES) for layers, rows in sizes]


class Scratch(NamedTuple):
    """Where the backward pass works; axes ``[slot, time, row, lane]``."""

    stream: np.ndarray  # gradient of the stream
    said: np.ndarray  # gradients of logits, value, q
    normed: np.ndarray  # what a linear layer read: output of a layer norm
    hidden: np.ndarray  # gradient of the perceptron's hidden layer before its GELU
    active: np.ndarray  # that layer after its GELU
    mixed: np.ndarray  # gradient of ``mixed``
    qkv: np.ndarray  # gradient of ``qkv``
    head: np.ndarray  # of one head, what its queries need: see ``attention_backward``


# Rows of ``Scratch.head``: query; gradient of the head's output; minus that gradient times the output; shift; gradient
# of the query.
D_OUTPUT, D_TIMES_OUTPUT, SHIFT, D_QUERY, HEAD_ROWS = PART, 2 * PART, 2 * PART + 1, 2 * PART + 2, 3 * PART + 2


def scratch_shapes(slots, w, time):
    """Shapes of the scratch arrays."""
    sizes = Scratch(WIDTH, 2 * w.policy.shape[1] + 1, WIDTH, HIDDEN, HIDDEN, WIDTH, INPUTS, HEAD_ROWS)
    return [(slots, time, rows, LANES) for rows in sizes]


@inlined
def place(group, batch):
    """The trial of a group and its first sequence."""
    per_trial = (batch + LANES - 1) // LANES
    return group // per_trial, group % per_trial * LANES


@inlined
def drop(x, coins, group, number):
    """Dropout of a vector by its coin's number, or of a tuple from that number on."""
    if coins is None:
        return x
    return survivors(x, coins.keys, (group,), number, coins.threshold, coins.scale)


@inlined
def first_coin(w, t, layer):
    """``Places.attention`` of the token at ``t``."""
    of_layer = HEADS * w.position.shape[1] + 2 * WIDTH
    return t * (w.norm1.shape[1] * of_layer + WIDTH) + layer * of_layer


@inlined
def coins_of_outputs(w, t, layer):
    """``Places.attention_out`` and ``Places.mlp_out`` of the token at ``t``."""
    attention_out = first_coin(w, t, layer) + HEADS * w.position.shape[1]
    return attention_out, attention_out + WIDTH


# Forward.


@inlined
def normalise(x):
    """``x`` with mean 0 and variance 1 over its rows, and the factor that made it so."""
    centred = subtract(x, dot(x, ONE, ZERO) * MEAN)
    factor = ONE / square_root(dot(centred, centred, ZERO) * MEAN + EPSILON)
    return multiply(centred, factor), factor


@inlined
def norm(x, scale, bias, index):
    """Layer norm with learned scale and bias."""
    return multiply_add(normalise(x)[0], weights(scale, index, WIDTH), weights(bias, index, WIDTH))


@inlined
def sigmoid_of_gelu(u):
    """The s of GELU(u) = u s, tanh approximation: u (1 + tanh z) / 2 = u / (1 + exp(-2 z))."""
    power = multiply_add(u * u, u * GELU_CUBE, u) * GELU_POWER
    return ONE / (exp2(maximum(minimum(power, HIGHEST), LOWEST)) + ONE)


@inlined
def attend(qkv, slot, layer, head, t, query, shift, coins, group, coin):
    """Sums over keys 0 to t of ``2**(score + shift)``: times the values, with dropout, and plain; largest exponent."""
    mixed, total, top = zeros(PART), broadcast(ZERO), broadcast(ZERO)
    for j in range(t + 1):
        power = dot(query, rows(qkv, (slot, layer, j, KEYS + PART * head), PART), shift)
        top = maximum(top, power)
        p = exp2(maximum(power, LOWEST))
        kept = drop(p, coins, group, coin + j)
        mixed = multiply_add(rows(qkv, (slot, layer, j, VALUES + PART * head), PART), kept, mixed)
        total = total + p
    return mixed, total, top


@inlined
def block(w, trial, layer, coins, group, trace, slot, t):
    """One block for the token at ``t``; earlier ones have been there."""
    attention_out, mlp_out = coins_of_outputs(w, t, layer)
    stream = rows(trace.stream, (slot, layer, t, 0), WIDTH)
    normed = norm(stream, w.norm1, w.norm1_bias, (trial, layer))
    for o in range(INPUTS):
        row = dot(normed, weights(w.qkv, (trial, layer, o), WIDTH), w.qkv_bias[trial, layer, o])
        store(trace.qkv, (slot, layer, t, o), row)

    for head in range(HEADS):
        query = multiply(rows(trace.qkv, (slot, layer, t, PART * head), PART), SCALE * LOG2_E)
        # Powers relative to the token's own keep the sum at one or more. Only if another power is far above
        # is the true largest needed, and a second go.
        shift = ZERO - dot(query, rows(trace.qkv, (slot, layer, t, KEYS + PART * head), PART), ZERO)
        coin = first_coin(w, t, layer) + head * w.position.shape[1]
        mixed, total, top = attend(trace.qkv, slot, layer, head, t, query, shift, coins, group, coin)
        if any_above(top, FAR):
            shift = shift - top
            mixed, total, top = attend(trace.qkv, slot, layer, head, t, query, shift, coins, group, coin)
        inverse = ONE / total
        store(trace.softmax, (slot, layer, t, head), shift)
        store(trace.softmax, (slot, layer, t, HEADS + head), inverse)
        store(trace.mixed, (slot, layer, t, PART * head), multiply(mixed, inverse))

    mixed = rows(trace.mixed, (slot, layer, t, 0), WIDTH)
    for o in range(WIDTH):
        row = dot(mixed, weights(w.out, (trial, layer, o), WIDTH), w.out_bias[trial, layer, o])
        added = drop(row, coins, group, attention_out + o)
        store(trace.middle, (slot, layer, t, o), load(trace.stream, (slot, layer, t, o)) + added)

    stream = rows(trace.middle, (slot, layer, t, 0), WIDTH)
    normed = norm(stream, w.norm2, w.norm2_bias, (trial, layer))
    added = weights(w.down_bias, (trial, layer), WIDTH)
    for i in range(HIDDEN):
        u = dot(normed, weights(w.up, (trial, layer, i), WIDTH), w.up_bias[trial, layer, i])
        added = multiply_add(weights(w.down, (trial, layer, i), WIDTH), u * sigmoid_of_gelu(u), added)
    store(trace.stream, (slot, layer + 1, t, 0), multiply_add(drop(added, coins, group, mlp_out), ONE, stream))


@compiled
def read(w, trial, first, tokens, coins, group, trace, slot, t):
    """Run the token at ``t`` of the group that starts at sequence ``first`` through the network.

    Lanes without a sequence read token 0, and nobody looks at what comes of it."""
    for lane in range(LANES):
        token = tokens[trial, first + lane, t] if first + lane < tokens.shape[1] else 0
        for i in range(WIDTH):
            trace.stream[slot, 0, t, i, lane] = w.token[trial, token, i] + w.position[trial, t, i]
    layers, vocabulary = w.norm1.shape[1], w.policy.shape[1]
    embedded = rows(trace.stream, (slot, 0, t, 0), WIDTH)
    store(trace.stream, (slot, 0, t, 0), drop(embedded, coins, group, first_coin(w, t, layers)))
    for layer in range(layers):
        block(w, trial, layer, coins, group, trace, slot, t)
    normed = norm(rows(trace.stream, (slot, layers, t, 0), WIDTH), w.norm, w.norm_bias, (trial,))
    for v in range(vocabulary):
        store(trace.said, (slot, 0, t, v), dot(normed, weights(w.policy, (trial, v), WIDTH), ZERO))
        q = dot(normed, weights(w.q, (trial, v), WIDTH), w.q_bias[trial, v])
        store(trace.said, (slot, 0, t, vocabulary + 1 + v), q)
    value = dot(normed, weights(w.value, (trial, 0), WIDTH), w.value_bias[trial, 0])
    store(trace.said, (slot, 0, t, vocabulary), value)


@compiled
def forward(group, slot, w, tokens, coins, trace, logits, values, q):
    """Logits, values and q after every token of the group; ``trace[group]`` remembers the way there."""
    trial, first = place(group, tokens.shape[1])
    vocabulary = logits.shape[3]
    for t in range(tokens.shape[2]):
        read(w, trial, first, tokens, coins, group, trace, group, t)
        said = trace.said[group, 0, t]
        for lane in range(min(LANES, tokens.shape[1] - first)):
            values[trial, first + lane, t] = said[vocabulary, lane]
            for v in range(vocabulary):
                logits[trial, first + lane, t, v] = said[v, lane]
                q[trial, first + lane, t, v] = said[vocabulary + 1 + v, lane]


@inlined
def draw(said, lane, vocabulary, uniform, temperature):
    """The token whose stretch of cumulative probability holds ``uniform``, and its log-probability."""
    top = said[0, lane]
    for v in range(1, vocabulary):
        top = max(top, said[v, lane])
    mass, heated_mass = ZERO, ZERO
    for v in range(vocabulary):
        mass += np.exp(said[v, lane] - top)
        heated_mass += np.exp((said[v, lane] - top) / temperature)
    token, cumulative = 0, ZERO
    for v in range(vocabulary - 1):
        cumulative += np.exp((said[v, lane] - top) / temperature) / heated_mass
        token += uniform >= cumulative
    return token, said[token, lane] - top - np.log(mass)


@compiled
def sample(group, slot, w, tokens, uniforms, temperature, coins, trace, log_probs, values, q):
    """Draw tokens 1, 2, ... of the group after the given tokens 0."""
    trial, first = place(group, tokens.shape[1])
    steps, vocabulary = uniforms.shape[2], q.shape[3]
    for t in range(steps + 1):
        read(w, trial, first, tokens, coins, group, trace, slot, t)
        said = trace.said[slot, 0, t]
        for lane in range(min(LANES, tokens.shape[1] - first)):
            b = first + lane
            values[trial, b, t] = said[vocabulary, lane]
            if t < steps:
                for v in range(vocabulary):
                    q[trial, b, t, v] = said[vocabulary + 1 + v, lane]
                token, log_prob = draw(said, lane, vocabulary, uniforms[trial, b, t], temperature)
                tokens[trial, b, t + 1], log_probs[trial, b, t] = token, log_prob


# Backward.


@inlined
def norm_backward(d_out, normed, factor, scale, index):
    """Gradient of the input of a layer norm from that of its output."""
    d_normed = multiply(d_out, weights(scale, index, WIDTH))
    along_ones, along_normed = dot(d_normed, ONE, ZERO) * MEAN, dot(d_normed, normed, ZERO) * MEAN
    return multiply(subtract(subtract(d_normed, along_ones), multiply(normed, along_normed)), factor)


@inlined
def weight_row(inputs, outputs, slot, row, time):
    """Gradient of one row of a linear layer's weight, and of its bias, from inputs and gradients of outputs."""
    d_weight, d_bias = zeros(WIDTH), broadcast(ZERO)
    for t in range(time):
        d = load(outputs, (slot, t, row))
        d_weight = multiply_add(rows(inputs, (slot, t, 0), WIDTH), d, d_weight)
        d_bias = d_bias + d
    return d_weight, (d_bias,)


@inlined
def add_weights(inputs, outputs, slot, count, d_weights, d_biases, group, layer, time):
    """:func:`weight_row` for an even number of rows, two at a time, which halves the reading."""
    for row in range(0, count, 2):
        d_weight, d_bias, d_next_weight, d_next_bias = zeros(WIDTH), broadcast(ZERO), zeros(WIDTH), broadcast(ZERO)
        for t in range(time):
            x = rows(inputs, (slot, t, 0), WIDTH)
            d, d_next = load(outputs, (slot, t, row)), load(outputs, (slot, t, row + 1))
            d_weight, d_next_weight = multiply_add(x, d, d_weight), multiply_add(x, d_next, d_next_weight)
            d_bias, d_next_bias = d_bias + d, d_next_bias + d_next
        store_totals(d_weights, (group, layer, row), d_weight)
        store_totals(d_weights, (group, layer, row + 1), d_next_weight)
        store_totals(d_biases, (group, layer, row), (d_bias, d_next_bias))


@inlined
def heads_backward(w, trial, trace, group, slot, scratch, grads, detach, time):
    """From ``scratch.said`` to the gradient of the stream after the last block."""
    layers, vocabulary = w.norm1.shape[1], w.policy.shape[1]
    d_scale, d_bias = zeros(WIDTH), zeros(WIDTH)
    for t in range(time):
        normed, factor = normalise(rows(trace.stream, (group, layers, t, 0), WIDTH))
        d_out = zeros(WIDTH)
        for v in range(vocabulary):
            d_out = multiply_add(weights(w.policy, (trial, v), WIDTH), load(scratch.said, (slot, t, v)), d_out)
        if not detach:
            d_value = load(scratch.said, (slot, t, vocabulary))
            d_out = multiply_add(weights(w.value, (trial, 0), WIDTH), d_value, d_out)
            for v in range(vocabulary):
                d_q = load(scratch.said, (slot, t, vocabulary + 1 + v))
                d_out = multiply_add(weights(w.q, (trial, v), WIDTH), d_q, d_out)
        d_scale, d_bias = multiply_add(d_out, normed, d_scale), multiply_add(d_out, ONE, d_bias)
        store(scratch.stream, (slot, t, 0), norm_backward(d_out, normed, factor, w.norm, (trial,)))
        scaled = multiply_add(normed, weights(w.norm, (trial,), WIDTH), weights(w.norm_bias, (trial,), WIDTH))
        store(scratch.normed, (slot, t, 0), scaled)
    store_totals(grads.norm, (group,), d_scale)
    store_totals(grads.norm_bias, (group,), d_bias)
    for v in range(vocabulary):
        store_totals(grads.policy, (group, v), weight_row(scratch.normed, scratch.said, slot, v, time)[0])
        d_q, d_q_bias = weight_row(scratch.normed, scratch.said, slot, vocabulary + 1 + v, time)
        store_totals(grads.q, (group, v), d_q)
        store_totals(grads.q_bias, (group, v), d_q_bias)
    d_value, d_value_bias = weight_row(scratch.normed, scratch.said, slot, vocabulary, time)
    store_totals(grads.value, (group, 0), d_value)
    store_totals(grads.value_bias, (group,), d_value_bias)


@inlined
def perceptron_backward(w, trial, layer, coins, trace, group, slot, scratch, grads, time):
    """``scratch.stream`` from after the perceptron to before it."""
    d_scale, d_bias, d_down_bias = zeros(WIDTH), zeros(WIDTH), zeros(WIDTH)
    for t in range(time):
        d_out = rows(scratch.stream, (slot, t, 0), WIDTH)
        d_added = drop(d_out, coins, group, coins_of_outputs(w, t, layer)[1])
        d_down_bias = multiply_add(d_added, ONE, d_down_bias)
        standard, factor = normalise(rows(trace.middle, (group, layer, t, 0), WIDTH))
        scale, bias = weights(w.norm2, (trial, layer), WIDTH), weights(w.norm2_bias, (trial, layer), WIDTH)
        normed, d_normed = multiply_add(standard, scale, bias), zeros(WIDTH)
        for i in range(HIDDEN):
            up = weights(w.up, (trial, layer, i), WIDTH)
            u = dot(normed, up, w.up_bias[trial, layer, i])
            s = sigmoid_of_gelu(u)
            slope = multiply_add(u * u, 3 * GELU_CUBE * GELU_SLOPE, GELU_SLOPE)  # d(2z)/du
            d_gelu = dot(d_added, weights(w.down, (trial, layer, i), WIDTH), ZERO)
            d_u = d_gelu * multiply_add(u * s * slope, ONE - s, s)
            d_normed = multiply_add(up, d_u, d_normed)
            store(scratch.hidden, (slot, t, i), d_u)
            store(scratch.active, (slot, t, i), u * s)
        d_scale, d_bias = multiply_add(d_normed, standard, d_scale), multiply_add(d_normed, ONE, d_bias)
        d_in = norm_backward(d_normed, standard, factor, w.norm2, (trial, layer))
        store(scratch.normed, (slot, t, 0), normed)
        store(scratch.mixed, (slot, t, 0), d_added)
        store(scratch.stream, (slot, t, 0), multiply_add(d_in, ONE, d_out))
    store_totals(grads.norm2, (group, layer), d_scale)
    store_totals(grads.norm2_bias, (group, layer), d_bias)
    store_totals(grads.down_bias, (group, layer), d_down_bias)
    # The rows of ``down`` are hidden units, which have no bias there; the second call overwrites what the first wrote.
    add_weights(scratch.mixed, scratch.active, slot, HIDDEN, grads.down, grads.up_bias, group, layer, time)
    add_weights(scratch.normed, scratch.hidden, slot, HIDDEN, grads.up, grads.up_bias, group, layer, time)


@inlined
def mixed_backward(w, trial, layer, coins, trace, group, slot, scratch, grads, time):
    """From ``scratch.stream`` after attention to the gradient of ``mixed``."""
    d_added = scratch.hidden  # free by now
    for t in range(time):
        d_out = rows(scratch.stream, (slot, t, 0), WIDTH)
        store(d_added, (slot, t, 0), drop(d_out, coins, group, coins_of_outputs(w, t, layer)[0]))
        d_mixed = zeros(WIDTH)
        for o in range(WIDTH):
            d_mixed = multiply_add(weights(w.out, (trial, layer, o), WIDTH), load(d_added, (slot, t, o)), d_mixed)
        store(scratch.mixed, (slot, t, 0), d_mixed)
        store(scratch.normed, (slot, t, 0), rows(trace.mixed, (group, layer, t, 0), WIDTH))
    add_weights(scratch.normed, d_added, slot, WIDTH, grads.out, grads.out_bias, group, layer, time)


@inlined
def attention_backward(w, layer, head, coins, trace, group, slot, scratch, time):
    """From the gradient of ``mixed`` to that of ``qkv``, for one head.

    With p the weight of key j for query t and d the gradient of the head's output at t, the gradient of the score
    is p (d . value_j - d . output), where dropout acts on p in the output and on d . value_j. Here p is
    2**(power + shift) times the saved inverse sum, which goes into d."""
    query, key, value = PART * head, KEYS + PART * head, VALUES + PART * head
    for t in range(time):
        inverse = load(trace.softmax, (group, layer, t, HEADS + head))
        d_output = multiply(rows(scratch.mixed, (slot, t, query), PART), inverse)
        d_times_output = dot(d_output, rows(trace.mixed, (group, layer, t, query), PART), ZERO)
        store(scratch.head, (slot, t, 0), multiply(rows(trace.qkv, (group, layer, t, query), PART), SCALE))
        store(scratch.head, (slot, t, D_OUTPUT), d_output)
        store(scratch.head, (slot, t, D_TIMES_OUTPUT), ZERO - d_times_output)
        store(scratch.head, (slot, t, SHIFT), load(trace.softmax, (group, layer, t, head)))
        store(scratch.head, (slot, t, D_QUERY), zeros(PART))

    for j in range(time):
        k = multiply(rows(trace.qkv, (group, layer, j, key), PART), LOG2_E)
        v = rows(trace.qkv, (group, layer, j, value), PART)
        d_k, d_v = zeros(PART), zeros(PART)
        for t in range(j, time):
            q, d_output = rows(scratch.head, (slot, t, 0), PART), rows(scratch.head, (slot, t, D_OUTPUT), PART)
            p = exp2(maximum(dot(q, k, load(scratch.head, (slot, t, SHIFT))), LOWEST))
            coin = first_coin(w, t, layer) + head * w.position.shape[1] + j
            d_weight = drop(dot(d_output, v, ZERO), coins, group, coin)
            d_score = p * (d_weight + load(scratch.head, (slot, t, D_TIMES_OUTPUT)))
            d_v, d_k = multiply_add(d_output, drop(p, coins, group, coin), d_v), multiply_add(q, d_score, d_k)
            d_q = rows(scratch.head, (slot, t, D_QUERY), PART)
            store(scratch.head, (slot, t, D_QUERY), multiply_add(k, d_score, d_q))
        store(scratch.qkv, (slot, j, key), d_k)
        store(scratch.qkv, (slot, j, value), d_v)

    for t in range(time):
        d_q = rows(scratch.head, (slot, t, D_QUERY), PART)
        store(scratch.qkv, (slot, t, query), multiply(d_q, SCALE * LN_2))


@inlined
def qkv_backward(w, trial, layer, trace, group, slot, scratch, grads, time):
    """``scratch.stream`` from after attention to before the block."""
    for t in range(time):
        normed = norm(rows(trace.stream, (group, layer, t, 0), WIDTH), w.norm1, w.norm1_bias, (trial, layer))
        store(scratch.normed, (slot, t, 0), normed)
    add_weights(scratch.normed, scratch.qkv, slot, INPUTS, grads.qkv, grads.qkv_bias, group, layer, time)
    d_scale, d_bias = zeros(WIDTH), zeros(WIDTH)
    for t in range(time):
        d_out = zeros(WIDTH)
        for o in range(INPUTS):
            d_out = multiply_add(weights(w.qkv, (trial, layer, o), WIDTH), load(scratch.qkv, (slot, t, o)), d_out)
        normed, factor = normalise(rows(trace.stream, (group, layer, t, 0), WIDTH))
        d_scale, d_bias = multiply_add(d_out, normed, d_scale), multiply_add(d_out, ONE, d_bias)
        d_in = norm_backward(d_out, normed, factor, w.norm1, (trial, layer))
        store(scratch.stream, (slot, t, 0), multiply_add(d_in, ONE, rows(scratch.stream, (slot, t, 0), WIDTH)))
    store_totals(grads.norm1, (group, layer), d_scale)
    store_totals(grads.norm1_bias, (group, layer), d_bias)


@compiled
def backward(group, slot, w, tokens, coins, trace, d_logits, d_values, d_q, detach, scratch, grads):
    """Write the group's share of the gradients to ``grads``, whose embeddings must hold zeros."""
    trial, first = place(group, tokens.shape[1])
    time, vocabulary = tokens.shape[2], w.policy.shape[1]
    lanes = min(LANES, tokens.shape[1] - first)
    for t in range(time):
        for row in range(2 * vocabulary + 1):
            store(scratch.said, (slot, t, row), broadcast(ZERO))
        for lane in range(lanes):
            scratch.said[slot, t, vocabulary, lane] = d_values[trial, first + lane, t]
            for v in range(vocabulary):
                scratch.said[slot, t, v, lane] = d_logits[trial, first + lane, t, v]
                scratch.said[slot, t, vocabulary + 1 + v, lane] = d_q[trial, first + lane, t, v]
    heads_backward(w, trial, trace, group, slot, scratch, grads, detach, time)
    for layer in range(w.norm1.shape[1] - 1, -1, -1):
        perceptron_backward(w, trial, layer, coins, trace, group, slot, scratch, grads, time)
        mixed_backward(w, trial, layer, coins, trace, group, slot, scratch, grads, time)
        for head in range(HEADS):
            attention_backward(w, layer, head, coins, trace, group, slot, scratch, time)
        qkv_backward(w, trial, layer, trace, group, slot, scratch, grads, time)
    for t in range(time):
        d_embedded = drop(rows(scratch.stream, (slot, t, 0), WIDTH), coins, group, first_coin(w, t, w.norm1.shape[1]))
        store(scratch.stream, (slot, t, 0), d_embedded)
        store_totals(grads.position, (group, t), d_embedded)
        for lane in range(lanes):
            token = tokens[trial, first + lane, t]
            for i in range(WIDTH):
                grads.token[group, token, i] += scratch.stream[slot, t, i, lane]
