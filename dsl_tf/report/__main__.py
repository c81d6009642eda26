"""Lays out what runs measured in the shape of the paper's tables, beside what it published, with plots.

Example: python -m dsl_tf.report --runs=runs --output_dir=report
"""

from dsl_tf import command_line

if __name__ == "__main__":
    command_line.report()
