"""Sixteen numbers at a time inside Numba functions.

Numba leaves vectorising to LLVM, which does not see through loops like ours. This file adds one type to Numba, a
vector of sixteen float32 with arithmetic, loads and stores. Tuples of vectors are the rows of a small matrix and stay
in registers. LLVM maps a vector to AVX-512 or to several smaller registers, whichever the processor has.

Arrays in memory are C-contiguous and end in the axis ``lane`` of length 16; an index is a tuple that leaves it out.
Only functions compiled by Numba can call what is here."""

import inspect
import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.core.extending import intrinsic, overload, register_model

from actde_nb.networks.dropout import SPREAD
from actde_nb.networks.fast.cache import inlined

LANES = 16

FLOAT, INTEGER = ir.FloatType(), ir.IntType(32)
FLOATS, INTEGERS = ir.VectorType(FLOAT, LANES), ir.VectorType(INTEGER, LANES)
ALIGNMENT = 4  # bytes we promise; promising more would gain nothing


class Vector(types.Type):
    """The Numba type of sixteen float32."""

    def __init__(self):
        super().__init__(name=f"float32x{LANES}")


vector = Vector()


@register_model(Vector)
class VectorModel(PrimitiveModel):
    """Tells Numba that a vector is an LLVM vector."""

    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, FLOATS)


# LLVM code for the operations. ``context`` and ``builder`` are Numba's and LLVM's code generators.


def _call_llvm(builder, name, result, *arguments, flags=()):
    """A call of LLVM's own function ``name`` for vectors."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32")
    return builder.call(function, arguments, fastmath=flags)


def _broadcast(builder, number):
    """A vector with ``number`` in each lane."""
    undefined = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    first = builder.insert_element(undefined, number, INTEGER(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(INTEGERS, [0] * LANES))


def _vector(context, builder, value, numba_type):
    """A vector as it is, a number in each lane."""
    if isinstance(numba_type, Vector):
        return value
    return _broadcast(builder, context.cast(builder, value, numba_type, types.float32))


def _entries(context, builder, value, numba_type, count):
    """The entries of a tuple, or ``count`` times the same vector or number."""
    if isinstance(numba_type, types.BaseTuple):
        return cgutils.unpack_tuple(builder, value)
    return [_vector(context, builder, value, numba_type)] * count


def _multiply_add(builder, a, b, c):
    """a * b + c, in one rounding where the processor can."""
    return _call_llvm(builder, "fmuladd", FLOATS, a, b, c)


def _address(context, builder, array_type, array, index_type, index):
    """Address of ``array[index]``; axes that the index leaves out are at 0."""
    view = context.make_array(array_type)(context, builder, array)
    numbers = zip(cgutils.unpack_tuple(builder, index), index_type.types, strict=True)
    indices = [context.cast(builder, number, numba_type, types.intp) for number, numba_type in numbers]
    indices += [ir.IntType(64)(0)] * (array_type.ndim - len(indices))
    return cgutils.get_item_pointer(context, builder, array_type, view, indices)


def _row(builder, address, number):
    """Address of the vector that lies ``number`` vectors behind ``address``."""
    return builder.gep(builder.bitcast(address, FLOATS.as_pointer()), [ir.IntType(64)(number)])


def _aligned(instruction):
    instruction.align = ALIGNMENT
    return instruction


# Intrinsics: for Numba types in, the Numba type out and the function that emits the code.


def _vectors(count):
    return types.UniTuple(vector, count)


def _elementwise(emit, doc=None):
    """An intrinsic from what it does to LLVM vectors: to each entry of tuples, with vectors and numbers for all."""

    def typed(_, *arguments):
        counts = {len(a) for a in arguments if isinstance(a, types.BaseTuple)}
        count = counts.pop() if counts else None
        if counts:
            raise TypeError("tuples of different lengths")

        def code(context, builder, signature, values):
            each = zip(values, signature.args, strict=True)
            columns = [_entries(context, builder, value, numba_type, count or 1) for value, numba_type in each]
            results = [emit(builder, *entries) for entries in zip(*columns, strict=True)]
            return results[0] if count is None else context.make_tuple(builder, signature.return_type, results)

        return (vector if count is None else _vectors(count))(*arguments), code

    typed.__signature__ = inspect.signature(emit)  # where Numba looks how many arguments there are
    typed.__doc__ = doc
    return intrinsic(typed)


broadcast = _elementwise(lambda builder, number: number, "A vector with the number in each lane.")
multiply = _elementwise(lambda builder, a, b: builder.fmul(a, b), "a * b.")
subtract = _elementwise(lambda builder, a, b: builder.fsub(a, b), "a - b.")
multiply_add = _elementwise(_multiply_add, "a * b + c.")
square_root = _elementwise(lambda builder, a: _call_llvm(builder, "sqrt", FLOATS, a), "The root of a.")
# In one instruction; NaN if the first is.
maximum = _elementwise(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", b, a), b, a), "The larger one.")
minimum = _elementwise(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", b, a), b, a), "The smaller one.")


def _operator(symbol, function):
    """Let vectors, and only they, use a Python operator."""

    @overload(symbol)
    def operation(a, b):
        if isinstance(a, Vector) or isinstance(b, Vector):
            return lambda a, b: function(a, b)
        return None


_operator(operator.add, _elementwise(lambda builder, a, b: builder.fadd(a, b)))
_operator(operator.sub, subtract)
_operator(operator.mul, multiply)
_operator(operator.truediv, _elementwise(lambda builder, a, b: builder.fdiv(a, b)))


def _from_memory(read, doc):
    """An intrinsic that gives ``count`` vectors, a constant number, read one by one from ``array[index]`` on."""

    def typed(_, array, index, count):
        def code(context, builder, signature, values):
            address = _address(context, builder, signature.args[0], values[0], signature.args[1], values[1])
            found = [read(builder, address, i) for i in range(count.literal_value)]
            return context.make_tuple(builder, signature.return_type, found)

        return _vectors(count.literal_value)(array, index, count), code

    typed.__doc__ = doc
    return intrinsic(prefer_literal=True)(typed)


rows = _from_memory(lambda builder, address, i: _aligned(builder.load(_row(builder, address, i))), "Rows of lanes.")
#: Numbers, each in every lane: the array has no lanes and is a row of a network's matrix, the same for all sequences.
weights = _from_memory(
    lambda builder, address, i: _broadcast(builder, builder.load(builder.gep(address, [ir.IntType(64)(i)]))),
    "Numbers, each in every lane.",
)


@inlined
def load(array, index):
    """The vector ``array[index]``."""
    return rows(array, index, 1)[0]


def _to_memory(write, doc):
    """An intrinsic that writes a vector to ``array[index]``, or a tuple of them there and behind it."""

    def typed(_, array, index, value):
        def code(context, builder, signature, values):
            address = _address(context, builder, signature.args[0], values[0], signature.args[1], values[1])
            for i, entry in enumerate(_entries(context, builder, values[2], signature.args[2], 1)):
                write(builder, address, i, entry)
            return context.get_dummy_value()

        return types.void(array, index, value), code

    typed.__doc__ = doc
    return intrinsic(typed)


def _store_total(builder, address, i, entry):
    # In an order of LLVM's choice: faster than one lane after the other, and more exact.
    total = _call_llvm(builder, "vector.reduce.fadd", FLOAT, FLOAT(0.0), entry, flags=("reassoc",))
    builder.store(total, builder.gep(address, [ir.IntType(64)(i)]))


store = _to_memory(
    lambda builder, address, i, entry: _aligned(builder.store(entry, _row(builder, address, i))), "Write vectors."
)
store_totals = _to_memory(_store_total, "Write the sum over the lanes of each vector; the array has no lanes.")


@intrinsic(prefer_literal=True)
def zeros(_, count):
    """A tuple of ``count`` vectors of zeros, a constant number."""

    def code(context, builder, signature, _values):
        zero = ir.Constant(FLOATS, [0.0] * LANES)
        return context.make_tuple(builder, signature.return_type, [zero] * count.literal_value)

    return _vectors(count.literal_value)(count), code


@intrinsic
def dot(_, a, b, start):
    """``start + sum_i a[i] * b[i]`` of two tuples, or of a tuple and a number."""

    def code(context, builder, signature, values):
        result = _vector(context, builder, values[2], signature.args[2])
        ones = cgutils.unpack_tuple(builder, values[0])
        others = _entries(context, builder, values[1], signature.args[1], len(ones))
        for one, other in zip(ones, others, strict=True):
            result = _multiply_add(builder, one, other, result)
        return result

    return vector(a, b, start), code


@intrinsic
def survivors(_, a, keys, index, number, threshold, scale):
    """``a * scale`` in lanes whose coin is at least ``threshold``, 0 in others; the coins of a tuple are numbered on.

    Coin ``number`` of a lane is the hash of :func:`actde_nb.networks.dropout.scramble`, with the lane's entry of
    ``keys[index]``, 32-bit whole numbers."""

    def code(context, builder, signature, values):
        def everywhere(number):
            return ir.Constant(INTEGERS, [number] * LANES)

        address = _address(context, builder, signature.args[1], values[1], signature.args[2], values[2])
        key = _aligned(builder.load(builder.bitcast(address, INTEGERS.as_pointer())))
        first = context.cast(builder, values[3], signature.args[3], types.uint32)
        bound = _broadcast(builder, context.cast(builder, values[4], signature.args[4], types.uint32))
        scale = _vector(context, builder, values[5], signature.args[5])

        def survivor(value, number):
            counter = builder.mul(builder.add(first, INTEGER(number)), INTEGER(SPREAD))
            coin = builder.xor(key, _broadcast(builder, counter))
            for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
                coin = builder.xor(coin, builder.lshr(coin, everywhere(shift)))
                coin = builder.mul(coin, everywhere(factor))
            stays = builder.icmp_unsigned(">=", coin, bound)
            return builder.select(stays, builder.fmul(value, scale), ir.Constant(FLOATS, [0.0] * LANES))

        entries = _entries(context, builder, values[0], a, 1)
        kept = [survivor(value, number) for number, value in enumerate(entries)]
        return context.make_tuple(builder, a, kept) if isinstance(a, types.BaseTuple) else kept[0]

    return a(a, keys, index, number, threshold, scale), code


@intrinsic
def any_above(_, a, bound):
    """Whether some lane of ``a`` is above a number."""

    def code(context, builder, signature, values):
        above = builder.fcmp_ordered(">", values[0], _vector(context, builder, values[1], signature.args[1]))
        return builder.icmp_unsigned("!=", builder.bitcast(above, ir.IntType(LANES)), ir.IntType(LANES)(0))

    return types.boolean(a, bound), code


def _add_to_exponent(builder, a, shifted):
    """``a * 2**n`` where ``shifted`` is n + ROUNDER, whose lowest bits are n."""
    bits, whole = (builder.bitcast(value, INTEGERS) for value in (a, shifted))
    return builder.bitcast(builder.add(bits, builder.shl(whole, ir.Constant(INTEGERS, [23] * LANES))), FLOATS)


add_to_exponent = _elementwise(_add_to_exponent, _add_to_exponent.__doc__)
ROUNDER = np.float32(1.5 * 2**23)  # float32 numbers of this size are whole: adding it rounds
LOWEST, HIGHEST = np.float32(-126), np.float32(126)  # powers of two that float32 can hold, with all bits
# 2**x = 1 + C1 x + ... + C5 x^5 on [-1/2, 1/2]: the fit whose largest relative error, 1e-7, is smallest.
C1, C2, C3, C4, C5 = (
    np.float32(c) for c in (0.693147003650, 0.240222424269, 0.0555073358119, 0.00967151299119, 0.00132647273131)
)


@inlined
def exp2(a):
    """2**a for a between LOWEST and HIGHEST, to about 2e-7 of its value; the caller keeps ``a`` there."""
    shifted = a + ROUNDER
    rest = a - (shifted - ROUNDER)  # in [-1/2, 1/2]
    p = multiply_add(rest, C5, C4)
    p = multiply_add(rest, p, C3)
    p = multiply_add(rest, p, C2)
    p = multiply_add(rest, p, C1)
    p = multiply_add(rest, p, np.float32(1))
    return add_to_exponent(p, shifted)
