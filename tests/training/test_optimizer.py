import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.training.optimizer import CoupledDecaySGD, WarmupCosineDecay, WarmupStepDecay


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True), (0.0, True)])
def test_decay_is_part_of_the_gradient_and_momentum_free_of_the_rate(momentum, nesterov):
    random = np.random.default_rng(0)
    rates = [0.1, 0.1, 0.01, 0.01]
    weights = random.normal(size=5)
    variable = keras.Variable(weights.astype(np.float32))
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.01])
    optimizer = CoupledDecaySGD(schedule, momentum=momentum, coupled_weight_decay=0.05, nesterov=nesterov)
    velocity = np.zeros(5)
    for rate in rates:
        gradient = random.normal(size=5)
        decayed = gradient + 0.05 * weights
        velocity = momentum * velocity + decayed
        weights = weights - rate * (decayed + momentum * velocity if nesterov else velocity)
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
    np.testing.assert_allclose(variable.numpy(), weights, rtol=1e-5)


def test_loss_scaling_does_not_scale_the_decay():
    plain, scaled = keras.Variable(np.ones(3, np.float32)), keras.Variable(np.ones(3, np.float32))
    optimizer = CoupledDecaySGD(0.1, coupled_weight_decay=0.5)
    scaling = keras.optimizers.LossScaleOptimizer(CoupledDecaySGD(0.1, coupled_weight_decay=0.5), initial_scale=1024.0)
    scaling.build([scaled])
    optimizer.apply([tf.constant([1.0, 2.0, 3.0])], [plain])
    scaling.apply([1024.0 * tf.constant([1.0, 2.0, 3.0])], [scaled])
    np.testing.assert_allclose(scaled.numpy(), plain.numpy(), rtol=1e-6)


def test_schedule_warms_up_and_drops():
    schedule = WarmupStepDecay(peak=0.5, warmup_steps=10, decay_steps=(80, 120), decay_rate=0.1)
    expected = {0: 0.05, 4: 0.25, 9: 0.5, 10: 0.5, 79: 0.5, 80: 0.05, 119: 0.05, 120: 0.005, 159: 0.005}
    for step, rate in expected.items():
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-5)


def test_schedule_without_warmup_or_drops_is_constant():
    schedule = WarmupStepDecay(peak=0.5, warmup_steps=0, decay_steps=())
    assert [float(schedule(step)) for step in (0, 1, 1000)] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("warmup_steps", [0, 10, 120])
def test_the_cosine_falls_from_the_peak_to_zero(warmup_steps):
    schedule = WarmupCosineDecay(peak=0.5, warmup_steps=warmup_steps, steps=110)
    for step in (0, 4, 9, 10, 60, 109, 110, 200):
        t = np.clip((step - warmup_steps) / max(110 - warmup_steps, 1), 0, 1)
        warmup = min((step + 1) / warmup_steps, 1) if warmup_steps else 1
        assert float(schedule(step)) == pytest.approx(0.5 * warmup * (1 + np.cos(np.pi * t)) / 2, abs=1e-6)
    assert schedule.from_config(schedule.get_config())(60) == schedule(60)


def test_optimizer_and_schedule_survive_serialisation():
    optimizer = CoupledDecaySGD(WarmupStepDecay(0.5, 4, (8,)), momentum=0.8, coupled_weight_decay=0.01)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert copy.coupled_weight_decay == 0.01
    assert copy.momentum == 0.8
    assert float(copy.learning_rate) == float(optimizer.learning_rate)
