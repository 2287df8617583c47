"""The file that `restaudit ui` gives to `streamlit run`, which looks for an App in it."""

from __future__ import annotations

from streamlit.starlette import App

from reports.viewer import serve

app = App(serve.SCRIPT, middleware=serve.GUARDED, lifespan=serve.begun)
