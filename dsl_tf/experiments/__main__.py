"""Writes the flagfiles of the paper's experiments below flags/ of the current folder."""

import pathlib
import sys

from dsl_tf.experiments.flagfiles import flagfile_texts


def main():
    """Writes the flagfiles, or says in one line why not."""
    if not pathlib.Path("flags").is_dir():
        print(
            "error: the current folder must be the project's, which has a folder flags. "
            f"Received: {str(pathlib.Path.cwd())!r}. Change to the project's folder.",
            file=sys.stderr,
        )
        sys.exit(2)
    texts = flagfile_texts()
    for path, text in texts.items():
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    print(f"Wrote {len(texts)} flagfiles below flags/.")


if __name__ == "__main__":
    main()
