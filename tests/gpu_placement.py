"""What of a traced function could not stay on a GPU, by TensorFlow's own registry of kernels; needs no GPU.

TensorFlow's builds for CUDA register their GPU kernels on machines without a GPU too. A kernel says for which dtypes it
is, and which of its inputs and outputs are in the host's memory. With that, one can follow each tensor of a graph and
find the operations that would make it travel from the device to the host, which stops the device in each step.
"""

import tensorflow as tf

# What moves no data of its own: arguments and calls of functions, whose bodies are looked at themselves.
_TRANSPARENT = {"NoOp", "PartitionedCall", "Placeholder", "StatefulPartitionedCall"}
# The host decides what runs next, so it must read the first input. A loop decides by a tensor in its condition's body.
_BRANCHES = {"Case", "If", "StatelessCase", "StatelessIf"}
_LOOPS = {"StatelessWhile", "While"}
# From the errors in TensorFlow's library that say so. Reductions of segments, the gradient of a gather among them, are
# deterministic for some dtypes only. Contrast is changed on the host, in the input pipeline.
_NOT_DETERMINISTIC = {
    *("AdjustContrast", "AdjustContrastv2", "Bincount", "CropAndResizeGradBoxes", "CropAndResizeGradImage"),
    *("DenseBincount", "Dilation2DBackpropFilter", "Dilation2DBackpropInput", "MaxPoolGradWithArgmax"),
    *("ResizeNearestNeighborGrad", "SegmentSum", "SegmentMean", "SparseSoftmaxCrossEntropyWithLogits"),
    *("SoftmaxCrossEntropyWithLogits", "SparseTensorDenseMatMul", "Svd", "UnsortedSegmentSum"),
}
_GRADIENTS_OF_NORMALIZATION = {"FusedBatchNormGrad", "FusedBatchNormGradV2", "FusedBatchNormGradV3"}
_PRODUCTS = {
    *("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput"),
    *("Einsum", "MatMul"),
}


def gpu_kernels(op):
    """Returns the kernels of an operation that a GPU can run."""
    from tensorflow.python.framework import kernels

    return [
        kernel
        for kernel in kernels.get_registered_kernels_for_op(op).kernel
        if kernel.device_type in ("GPU", "DEFAULT")
    ]


def _attribute_types(node, name):
    value = node.attr[name]
    return list(value.list.type) if value.HasField("list") else [value.type]


def _gpu_kernel(node):
    """Returns the kernel that a GPU would run a node with, or None."""
    for kernel in gpu_kernels(node.op):
        if all(
            set(_attribute_types(node, constraint.name)) <= set(constraint.allowed_values.list.type)
            for constraint in kernel.constraint
        ):
            return kernel
    return None


def _argument_names(arguments, node):
    """Returns the name of the argument that each input or output of a node belongs to."""
    names = []
    for argument in arguments:
        if argument.number_attr:
            count = node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            count = len(node.attr[argument.type_list_attr].list.type)
        else:
            count = 1
        names += [argument.name] * count
    return names


def _in_host_memory(tensor):
    """Whether a function's argument is in the host's memory: small integers and handles are."""
    return tensor.dtype in (tf.int32, tf.resource, tf.variant, tf.string)


def _check_graph(graph, problems):
    in_host = {}
    for operation in graph.get_operations():
        node = operation.node_def
        if operation.type in _TRANSPARENT | _BRANCHES | _LOOPS:
            if operation.type in _BRANCHES and not in_host.get(operation.inputs[0].ref(), True):
                problems.setdefault((operation.type, "the host waits for its condition"), []).append(node.name)
            for output in operation.outputs:
                in_host[output.ref()] = _in_host_memory(output)
            continue
        kernel = _gpu_kernel(node)
        if kernel is None:
            dtypes = sorted({tensor.dtype.name for tensor in [*operation.inputs, *operation.outputs]})
            from_device = any(not in_host.get(tensor.ref(), True) for tensor in operation.inputs)
            if from_device:
                problems.setdefault((operation.type, "no GPU kernel for " + ", ".join(dtypes)), []).append(node.name)
            for output in operation.outputs:
                in_host[output.ref()] = True
            continue
        host_arguments = set(kernel.host_memory_arg)
        for tensor, name in zip(operation.inputs, _argument_names(operation.op_def.input_arg, node), strict=True):
            if name in host_arguments and not in_host.get(tensor.ref(), True):
                problems.setdefault((operation.type, f"needs its input {name!r} on the host"), []).append(node.name)
        for tensor, name in zip(operation.outputs, _argument_names(operation.op_def.output_arg, node), strict=True):
            in_host[tensor.ref()] = name in host_arguments


def device_to_host(concrete_function):
    """Finds what would make tensors travel from a GPU to the host when a function runs.

    Args:
        concrete_function: a traced `tf.function`.

    Returns:
        A dict from (operation, reason) to the names of such nodes.
    """
    problems = {}
    for graph in _graphs(concrete_function):
        _check_graph(graph, problems)
    return problems


def without_deterministic_kernel(concrete_function):
    """Finds the operations that raise an error on a GPU if TensorFlow must be deterministic."""
    return {
        operation.type
        for graph in _graphs(concrete_function)
        for operation in graph.get_operations()
        if operation.type in _NOT_DETERMINISTIC
        or (operation.type in _GRADIENTS_OF_NORMALIZATION and not operation.node_def.attr["is_training"].b)
    }


def float32_products(concrete_function):
    """Finds products and convolutions in float32, which recent GPUs compute in TF32, with 10 bits of mantissa."""
    return [
        operation.name
        for graph in _graphs(concrete_function)
        for operation in graph.get_operations()
        if operation.type in _PRODUCTS and operation.outputs[0].dtype == tf.float32
    ]


def _graphs(concrete_function):
    """Yields the graph of a traced function, and those of all functions that it calls."""
    seen = set()
    waiting = [concrete_function.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for function in graph._functions.values() if hasattr(graph, "_functions") else ():
            name = function.name
            if name not in seen and hasattr(function, "graph"):
                seen.add(name)
                waiting.append(function.graph)
