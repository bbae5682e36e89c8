"""The HTTP API: JSON under /api/v1 for operators, signed downloads for devices, health and metrics for machines.

    app.py          puts the application together
    context.py      the parts of the controller that it works with
    routing.py      how answers are written
    access.py       who may call it           problems.py   how errors are told
    models/         what goes in and out      paging.py     lists piece by piece
    views.py        deployments as they are shown, read with a fixed number of queries
    devices.py groups.py artifacts.py releases.py deployments.py events.py downloads.py health.py    one noun each

Reads use the store, writes go through `Operations`; nothing here decides anything.
"""
