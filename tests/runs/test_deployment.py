"""Networks converted to LiteRT and ONNX, and the request of TensorFlow Serving."""

import http.server
import json
import pathlib
import re
import shutil
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dsl_tf.errors import UserError
from dsl_tf.runs.configuration import ExportConfiguration
from dsl_tf.runs.deployment import convert
from dsl_tf.runs.export import export, load_exported_model
from tests.images import SIZE, striped_split

IMAGES = striped_split(5, 4, seed=1).images


def network(seed=0):
    """Layers that converters treat differently: constants, batch norm to fold, grouped convolutions, GELU."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Normalization(mean=[0.1, 0.0, -0.1], variance=[1.0, 2.0, 1.0]),
            keras.layers.Conv2D(8, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.LeakyReLU(negative_slope=0.1),
            keras.layers.Conv2D(8, 3, groups=8),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(12, activation="gelu"),
            keras.layers.Dense(10, dtype="float32"),
        ],
        name="small",
    )


@keras.saving.register_keras_serializable(package="tests.deployment")
class Eigenvalues(keras.layers.Layer):
    """An operation that LiteRT does not have."""

    def call(self, inputs):
        return tf.linalg.eigvalsh(inputs[:, :, None] * inputs[:, None])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What training leaves of a network in float32, of one in bfloat16, and of one that does not convert."""
    folder = tmp_path_factory.mktemp("runs")
    models = {"run": network()}
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    inputs = keras.Input((SIZE, SIZE, 3))
    # With an operation that is no layer, as the preprocessing of keras.applications has.
    models["half"] = keras.Model(inputs, network()(inputs / 2.0), name="half")
    keras.config.set_dtype_policy(before)
    models["eigen"] = keras.Sequential([*network().layers, Eigenvalues(dtype="float32")], name="eigen")
    for name, model in models.items():
        model(np.zeros((1, SIZE, SIZE, 3), np.float32))
        (folder / name).mkdir()
        export(model, None, np.zeros(10), folder / name)
    (folder / "images").mkdir()
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(folder / "images" / f"{number:02}.png")
    (folder / "images" / "broken.png").write_bytes(b"no image")
    return folder


def converted(runs, output_dir, name, *formats, images=True):
    images_dir = str(runs / "images") if images else None
    return list(
        convert(
            ExportConfiguration(
                model=str(runs / name), formats=formats, images_dir=images_dir, output_dir=str(output_dir)
            )
        )
    )


def lite_features(path, images):
    """Features by TensorFlow's interpreter, as a device would compute them."""
    interpreter = tf.lite.Interpreter(str(path))
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter:UserWarning")
def test_litert_files_return_the_features_of_the_saved_model(runs, tmp_path, caplog):
    found = converted(runs, tmp_path, "run", "litert", "litert_int8")
    assert "broken.png" in caplog.text
    expected = load_exported_model(runs / "run").signature(images=tf.constant(IMAGES))["features"].numpy()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["features.tflite", "features_int8.tflite"]
    for conversion, limit in zip(found, (1e-5, 0.1), strict=True):
        features = lite_features(conversion.path, IMAGES)
        assert conversion.images == len(IMAGES) and conversion.scale == pytest.approx(np.abs(expected).max())
        assert np.abs(features - expected).max() == pytest.approx(conversion.difference, rel=0.05, abs=1e-6)
        assert conversion.difference < limit * conversion.scale
    assert found[1].difference > 100 * found[0].difference and found[1].similarity > 0.95


def test_a_network_in_half_precision_is_converted_to_float32(runs, tmp_path):
    (found,) = converted(runs, tmp_path, "half", "litert", images=False)
    assert found.images == 100 and 0 < found.difference < 0.05 * found.scale


def test_onnx_returns_the_features_of_the_saved_model(runs, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    (found,) = converted(runs, tmp_path, "run", "onnx")
    expected = load_exported_model(runs / "run").signature(images=tf.constant(IMAGES))["features"].numpy()
    (features,) = runtime.InferenceSession(str(found.path)).run(["features"], {"images": IMAGES})
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-5)
    assert found.difference <= 1e-4 * found.scale


def test_what_a_format_cannot_hold_is_told_with_what_can(runs, tmp_path):
    with pytest.raises(UserError) as error:
        converted(runs, tmp_path, "eigen", "litert")
    words = ["The network eigen cannot be converted to litert", "SelfAdjointEigV2", "Written: nothing", "saved_model"]
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_features_that_are_not_the_saved_model_s_are_not_written(runs, tmp_path):
    shutil.copytree(runs / "run", runs / "other", dirs_exist_ok=True)
    network(seed=1).save(runs / "other" / "backbone.keras")
    with pytest.raises(UserError, match="litert .its features differ by up to .* similarity is .* Written: nothing"):
        converted(runs, tmp_path, "other", "litert")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": None}, ["--model must be given"]),
        ({"formats": ("litert_int8",)}, ["--formats=litert_int8", "--images_dir"]),
        ({"formats": ("tflite",)}, ["--formats", "litert, litert_int8, onnx", "'tflite'"]),
        ({"model": "images"}, ["finished run", "backbone.keras"]),
        ({"images_dir": "run/saved_model/variables"}, ["readable images", "none of 0"]),
        ({"formats": ("onnx",)}, ["pip install 'dsl_tf[onnx]'"]),
    ],
)
def test_a_wrong_argument_is_one_line(runs, tmp_path, monkeypatch, changes, words):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.chdir(runs)
    with pytest.raises(UserError) as error:
        list(convert(ExportConfiguration(**{"model": "run", "output_dir": str(tmp_path), **changes})))
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


class Serving(http.server.BaseHTTPRequestHandler):
    """Decodes requests as TensorFlow Serving's REST API does, and calls the real signature."""

    signature = None

    def do_POST(self):
        assert self.path == "/v1/models/mine:predict"
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert set(request) == {"instances"}
        (spec,) = self.signature.structured_input_signature[1].values()
        # With one input, an instance is its value; a list of numbers becomes a tensor of the signature's dtype.
        outputs = self.signature(**{spec.name: tf.constant(request["instances"], spec.dtype)})
        (values,) = outputs.values()
        body = json.dumps({"predictions": values.numpy().tolist()}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Prints nothing."""


def test_the_documented_request_fits_the_signature(runs, monkeypatch):
    page = pathlib.Path(__file__).parents[2] / "docs" / "deployment.md"
    (sample,) = re.findall(r"```py\n(import json\n.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.setattr(Serving, "signature", load_exported_model(runs / "run").signature)
    with http.server.HTTPServer(("127.0.0.1", 0), Serving) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.chdir(runs / "images")
        (runs / "images" / "photo.jpg").write_bytes((runs / "images" / "00.png").read_bytes())
        found = {}
        exec(sample.replace("localhost:8501", f"127.0.0.1:{server.server_port}"), found)
        server.shutdown()
    expected = Serving.signature(images=tf.constant(IMAGES[:1]))["features"].numpy()
    np.testing.assert_allclose(found["features"], expected, rtol=1e-5)
