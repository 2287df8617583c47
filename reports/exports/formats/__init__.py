"""One standard a file. A module here that has an `EXPORT` is offered by `restaudit export`."""
