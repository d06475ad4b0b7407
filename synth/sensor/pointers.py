"""Raw pointers for kernels, indexed like the arrays they point into, which must outlive them; and two instructions.

Numba counts references to every array that is passed on, which would cost more than the work on a few pixels.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_FROM_MEMORY_TO_ALL_CACHES = (0, 3, 1)  # read, keep, data


def _address(typingctx: Any, array: Any) -> Any:
    """Pointer to an array's first element."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


def _addresses(typingctx: Any, arrays: Any) -> Any:
    """Convert a named tuple of arrays to one of pointers."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = zip(arrays.types, cgutils.unpack_tuple(builder, args[0]), strict=True)
        data = [context.make_array(kind)(context, builder, value).data for kind, value in values]
        return context.make_tuple(builder, signature.return_type, data)

    pointers = [types.CPointer(kind.dtype) for kind in arrays.types]
    return types.NamedTuple(pointers, arrays.instance_class)(arrays), codegen


def _prefetch(typingctx: Any, pointer: Any, index: Any) -> Any:
    """Prefetch an element's cache line."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> None:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        begin = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        element = builder.bitcast(builder.gep(args[0], [args[1]]), byte)
        builder.call(begin, [element, *(number(value) for value in _FROM_MEMORY_TO_ALL_CACHES)])

    return types.void(pointer, index), codegen


def _trailing_zeros(typingctx: Any, bits: Any) -> Any:
    """Index of the lowest bit that is set in a uint64 other than 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


address: Any = intrinsic(_address)
addresses: Any = intrinsic(_addresses)
prefetch: Any = intrinsic(_prefetch)
trailing_zeros: Any = intrinsic(_trailing_zeros)
