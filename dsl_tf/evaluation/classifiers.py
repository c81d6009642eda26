"""The few-shot classifiers by name, with the hyperparameters that validation classes choose."""

import dataclasses
import functools
import importlib
import inspect
import itertools
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dsl_tf.errors import UserError
from dsl_tf.evaluation.alpha_tim import alpha_tim, alpha_tim_scores
from dsl_tf.evaluation.bd_cspn import bd_cspn, bd_cspn_scores
from dsl_tf.evaluation.classification import Scores, task_probabilities
from dsl_tf.evaluation.cosine_nearest_centroid import cosine_nearest_centroid, cosine_nearest_centroid_scores
from dsl_tf.evaluation.laplacian_shot import laplacian_shot, laplacian_shot_scores
from dsl_tf.evaluation.logistic_regression import logistic_regression, logistic_regression_scores
from dsl_tf.evaluation.nearest_centroid import nearest_centroid, nearest_centroid_scores
from dsl_tf.evaluation.nearest_neighbour import nearest_neighbour, nearest_neighbour_scores
from dsl_tf.evaluation.numbers import check_finite, check_visible
from dsl_tf.evaluation.pt_map import pt_map, pt_map_scores
from dsl_tf.evaluation.ridge_regression import ridge_regression, ridge_regression_scores
from dsl_tf.evaluation.tim import tim, tim_scores


@dataclasses.dataclass(frozen=True)
class FewShotClassifier:
    """A few-shot classifier.

    Args:
        title: its name in tables and figures.
        function: from support `[E, N, K, d]`, query `[E, M, d]` and hyperparameters to way indices `[E, M]`.
        scores: from support `[E, S, d]`, one-hot labels `[S, N]`, query `[E, M, d]` and hyperparameters to scores
            `[E, M, N]`, whose softmax are probabilities; None for a function of the user's own.
        grid: the values of each hyperparameter that validation classes choose from.
        transductive: whether it looks at all queries together.
        check: a function like `check_finite`, of the features that it takes.
    """

    title: str
    function: Callable[..., tf.Tensor]
    scores: Scores | None = None
    grid: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    transductive: bool = False
    check: Callable[..., object] = check_finite

    def probabilities(
        self, support: npt.ArrayLike, labels: npt.ArrayLike, query: npt.ArrayLike, /, **options: float
    ) -> np.ndarray:
        """Computes the probabilities of the classes of one task, as `task_probabilities` does."""
        if self.scores is None:
            raise UserError("A few-shot classifier of your own has no probabilities. Choose a named one.")
        self.check(support=support, query=query)
        return task_probabilities(self.scores, support, labels, query, **options)

    @property
    def defaults(self) -> dict[str, float]:
        """The hyperparameters' values if no validation classes are there to choose them."""
        parameters = inspect.signature(self.function).parameters
        return {name: parameters[name].default for name in self.grid}

    @property
    def combinations(self) -> list[dict[str, float]]:
        """All combinations of the hyperparameters' values; one without any if there are no hyperparameters."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]


CLASSIFIERS = {
    "nearest_centroid": FewShotClassifier("nearest class centroid", nearest_centroid, nearest_centroid_scores),
    "cosine_nearest_centroid": FewShotClassifier(
        "cosine nearest class centroid", cosine_nearest_centroid, cosine_nearest_centroid_scores
    ),
    "nearest_neighbour": FewShotClassifier("nearest neighbour", nearest_neighbour, nearest_neighbour_scores),
    "ridge_regression": FewShotClassifier(
        "ridge regression",
        ridge_regression,
        ridge_regression_scores,
        {"penalty": (0.01, 0.1, 1.0, 10.0, 100.0)},
    ),
    "logistic_regression": FewShotClassifier(
        "logistic regression",
        logistic_regression,
        logistic_regression_scores,
        {"penalty": (0.001, 0.01, 0.1, 1.0, 10.0)},
    ),
    "laplacian_shot": FewShotClassifier(
        "LaplacianShot",
        laplacian_shot,
        laplacian_shot_scores,
        # The values that its authors choose from.
        {"lam": (0.1, 0.3, 0.5, 0.7, 0.8, 1.0, 1.2, 1.5)},
        transductive=True,
        check=check_visible,
    ),
    "bd_cspn": FewShotClassifier("BD-CSPN", bd_cspn, bd_cspn_scores, transductive=True),
    "pt_map": FewShotClassifier("PT+MAP", pt_map, pt_map_scores, {"alpha": (0.2, 0.4)}, transductive=True),
    "tim": FewShotClassifier("TIM", tim, tim_scores, {"marginal_weight": (1.0, 10.0)}, transductive=True),
    "alpha_tim": FewShotClassifier("α-TIM", alpha_tim, alpha_tim_scores, {"alpha": (2.0, 5.0, 7.0)}, transductive=True),
}

_OWN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_own(name: str) -> bool:
    """Returns whether a name has the form `module:function`, of a classifier of the user's own."""
    return _OWN.fullmatch(name) is not None


def check_names(names: Sequence[str]) -> None:
    """Checks that names are in `CLASSIFIERS` or have the form `module:function`, without importing anything.

    Raises:
        UserError: if one is neither.
    """
    unknown = sorted(name for name in set(names) if name not in CLASSIFIERS and not is_own(name))
    if unknown:
        raise UserError(
            f"`classifiers` must be among {', '.join(CLASSIFIERS)}, or module:function. Received: {', '.join(unknown)}."
        )


def classifier_of(name: str) -> FewShotClassifier:
    """Finds a few-shot classifier.

    Args:
        name: one in `CLASSIFIERS`, or `module:function` of the user's own. The module is imported. The function takes
            tensors, support features `[E, N, K, d]` and query features `[E, M, d]` of E episodes, and returns the way
            index of each query, integers `[E, M]`. It is traced by `tf.function`.

    Raises:
        UserError: if there is no such classifier, or the module cannot be imported.
    """
    check_names([name])
    return CLASSIFIERS[name] if name in CLASSIFIERS else _own(name)


@functools.cache
def _own(name: str) -> FewShotClassifier:
    module, function_name = name.split(":")
    try:
        function = getattr(importlib.import_module(module), function_name, None)
    # The user's own module may raise anything.
    except Exception as error:
        raise UserError(
            f"The few-shot classifier {name} needs the module {module!r}, which cannot be imported: "
            f"{type(error).__name__}: {error}. Its folder must be in PYTHONPATH."
        ) from None
    if not callable(function):
        raise UserError(f"The module {module!r} must have a function {function_name!r}. Received: {function!r}.")

    traced = tf.function(function)

    def checked(support: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
        try:
            answers = tf.convert_to_tensor(traced(support, query))
        except Exception as error:
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise UserError(f"The few-shot classifier {name} failed: {last}") from error
        if not answers.dtype.is_integer or not answers.shape.is_compatible_with(query.shape[:2]):
            raise UserError(
                f"The few-shot classifier {name} must return integers of the shape [episodes, queries], "
                f"{query.shape[:2]}. Received: {answers.dtype.name} {answers.shape}."
            )
        return tf.cast(answers, tf.int32)

    return FewShotClassifier(name, checked)
