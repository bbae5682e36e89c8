"""`wainwright`, the operator's command line: a client of the HTTP API, and the way to start a controller.

main.py      the command itself, its options, its exit codes     settings.py   what the options say
client.py    talks HTTP                                          exits.py      exit codes and errors
output.py    tables and JSON on stdout, talk on stderr           words.py      times, spans and sizes for people
plan.py      the phases of a new deployment, from its options    confirm.py    asks before what cannot be undone
watch.py     follows a deployment                                narration.py  as sentences, for a log
render.py    as live bars, for a terminal: the only file that imports rich
reference.py writes docs/cli.md

device.py group.py artifact.py artifact_create.py release.py deployment.py deployment_create.py    one noun each
"""
