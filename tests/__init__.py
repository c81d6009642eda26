import dsl_tf.quiet_tensorflow  # noqa: F401
