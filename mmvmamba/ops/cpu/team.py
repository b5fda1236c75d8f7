"""What numba kernels need to run on a team of OpenMP threads and to share their work."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ['in_parallel', 'next_task', 'next_thread']

# The entries of the counter that all threads of a run share.
TASKS, THREADS = 0, 1


@intrinsic
def next_task(typingctx, counter):
    """A number, from 0 on, that no other thread is given."""

    def codegen(context, builder, signature, args):
        return _increment(context, builder, signature.args[0], args[0], TASKS)

    return types.int64(counter), codegen


@intrinsic
def next_thread(typingctx, counter):
    """A number, from 0 on, for the thread that asks."""

    def codegen(context, builder, signature, args):
        return _increment(context, builder, signature.args[0], args[0], THREADS)

    return types.int64(counter), codegen


@intrinsic
def in_parallel(typingctx, openmp, threads, kernel, arguments):
    """Calls ``kernel(*arguments)`` on each thread of a team of OpenMP.

    ``openmp`` is the address of its entry point. The kernel must be one that cannot raise.
    """
    kernel_signature = kernel.get_call_type(typingctx, arguments.types, {})
    compiled = kernel.dispatcher.overloads[tuple(kernel_signature.args)]
    pointer, unsigned = ir.IntType(8).as_pointer(), ir.IntType(32)
    body_type = ir.FunctionType(ir.VoidType(), [pointer])
    entry_type = ir.FunctionType(
        ir.VoidType(), [body_type.as_pointer(), pointer, unsigned, unsigned]
    )

    def codegen(context, builder, signature, args):
        context.active_code_library.add_linking_library(compiled.library)
        packed = builder.alloca(args[3].type)
        builder.store(args[3], packed)
        name = builder.module.get_unique_name(f'{builder.function.name}.body')
        body = ir.Function(builder.module, body_type, name)
        body.linkage = 'internal'
        emit_body(context, ir.IRBuilder(body.append_basic_block()), packed.type, body.args[0])
        entry = builder.inttoptr(args[0], entry_type.as_pointer())
        team = builder.trunc(args[1], unsigned)
        builder.call(entry, [body, builder.bitcast(packed, pointer), team, unsigned(0)])
        return context.get_dummy_value()

    def emit_body(context, builder, packed_type, data):
        packed = builder.load(builder.bitcast(data, packed_type))
        values = [builder.extract_value(packed, i) for i in range(len(arguments.types))]
        context.call_internal_no_propagate(builder, compiled.fndesc, kernel_signature, values)
        builder.ret_void()

    return types.void(types.int64, types.int64, kernel, arguments), codegen


def _increment(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    number = builder.gep(data, [ir.IntType(64)(index)])
    return builder.atomic_rmw('add', number, ir.IntType(64)(1), 'monotonic')
