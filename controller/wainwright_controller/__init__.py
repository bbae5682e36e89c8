"""The server's side: device traffic, rollouts, the HTTP API and the operator's commands."""
