"""The web page: server-rendered, live by server-sent events, its actions by the API (docs/web.md).

A page is made of regions. Each is rendered by the same template when the page is loaded and when something in it
changed; live.py sends those that changed, and static/live.js puts them in their places.
"""
