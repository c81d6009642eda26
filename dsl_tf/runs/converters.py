"""Converters of a network to the contents of a LiteRT or ONNX file."""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras.export import ExportArchive

from dsl_tf.data.preprocessing import normalize

_ONNX_OPSET = 17
# A function of uint8 images `[n, height, width, 3]` to features `[n, d]`.
Extract = Callable[[np.ndarray], np.ndarray]


class Served(NamedTuple):
    """The function of uint8 images that is converted, its signature, and the model that it calls."""

    backbone: keras.Model
    serve: Any
    signature: list[tf.TensorSpec]


def serving(backbone: keras.Model) -> Served:
    """Returns what is converted of a backbone, normalisation included.

    Args:
        backbone: a `keras.Model` from normalised images `[n, height, width, 3]` to features, in float32.
    """
    signature = [tf.TensorSpec([None, *backbone.input_shape[1:]], tf.uint8, name="images")]

    @tf.function(input_signature=signature, autograph=False)
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"features": tf.cast(backbone(normalize(images), training=False), tf.float32)}

    return Served(backbone, serve, signature)


def _litert(served: Served, images: np.ndarray | None) -> tuple[bytes, Extract]:
    """Converts to LiteRT; to 8-bit integers inside if there are images, whose activations set the ranges."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        archive = ExportArchive()
        archive.track(served.backbone)
        archive.add_endpoint("serving_default", served.serve, input_signature=served.signature)
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        if images is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ({"images": image[None]} for image in images)
        content = converter.convert()

    def extract(images: np.ndarray) -> np.ndarray:
        with _quiet():
            interpreter = tf.lite.Interpreter(model_content=content)
            run = interpreter.get_signature_runner("serving_default")
            return np.concatenate([run(images=image[None])["features"] for image in images])

    return content, extract


def _onnx(served: Served, _: np.ndarray) -> tuple[bytes, Extract]:
    import onnxruntime
    import tf2onnx

    with _quiet():
        frozen = _frozen(served.serve)
        model, _ = tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            input_names=[frozen.inputs[0].name],
            output_names=[frozen.outputs[0].name],
            tensors_to_rename={frozen.inputs[0].name: "images", frozen.outputs[0].name: "features"},
            opset=_ONNX_OPSET,
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
    content = model.SerializeToString()

    def extract(images: np.ndarray) -> np.ndarray:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return np.concatenate([session.run(["features"], {"images": image[None]})[0] for image in images])

    return content, extract


def _frozen(serve: Any) -> Any:
    """Traces a function into one graph with its weights as constants, which tf2onnx itself does incompletely."""
    # TensorFlow has no public name for it.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    eagerly = tf.config.functions_run_eagerly()
    # Without functions within the function: Keras has those that only XLA may compile, for grouped convolutions.
    tf.config.run_functions_eagerly(True)
    try:
        concrete = serve.get_concrete_function()
    finally:
        tf.config.run_functions_eagerly(eagerly)
    return convert_variables_to_constants_v2(concrete, lower_control_flow=False)


def _erfc(graph: Any, node: Any, *_: Any) -> None:
    """Replaces erfc, of which TensorFlow makes the activation GELU, by 1 − erf for tf2onnx, which does not know it."""
    dtype = graph.get_dtype(node.output[0])
    graph.remove_node(node.name)
    one = graph.make_const(f"{node.name}_one", np.float32(1))
    erf = graph.make_node("Erf", node.input, dtypes=[dtype])
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=node.output, dtypes=[dtype])


CONVERTERS: dict[str, Callable[[Served, np.ndarray], tuple[bytes, Extract]]] = {
    "litert": lambda served, _: _litert(served, None),
    "litert_int8": _litert,
    "onnx": _onnx,
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what the converters write to standard error, also from C++, and their warnings of deprecation."""
    before = os.dup(2)
    with open(os.devnull, "w") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
