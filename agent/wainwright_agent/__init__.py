"""The device's side: the service, the technician's commands, the update modules."""
