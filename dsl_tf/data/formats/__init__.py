"""The formats in which the named data sets reach people's disks."""
