"""When a run validates, and when that ends it."""

from dsl_tf import distribution
from dsl_tf.training.run import Run


def validation_due(run: Run, epoch: int) -> bool:
    """Returns whether an epoch ends with a validation. The last one does if there is a val split."""
    configuration = run.configuration
    every = configuration.validate_every or max(1, configuration.epochs // 10)
    return "val" in run.splits and (epoch % every == 0 or epoch == configuration.epochs)


def ends_early(run: Run, step: int) -> bool:
    """Returns whether --early_stopping ends a run after a step; all workers get the same answer."""
    patience = run.configuration.early_stopping
    if patience is None or step == 0 or step % run.epoch_steps:
        return False
    best = run.checkpoints.best()[0] // run.epoch_steps
    since = sum(validation_due(run, epoch) for epoch in range(best + 1, step // run.epoch_steps + 1))
    if not distribution.has_other_workers(run.strategy):
        return since >= patience
    return distribution.sum_over_workers(run.strategy, int(since >= patience)) > 0
