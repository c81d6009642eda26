"""Tars as tarfile makes them, in memory."""

import io
import tarfile


def tar(files, tar_format=tarfile.GNU_FORMAT, mode="w", members=()):
    """The bytes of a tar of files, a dict from name to content, and of other members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tar_format) as archive:
        for name, content in files.items():
            # PAX has an own header before each member for such a time.
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1.5
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return buffer.getvalue()
