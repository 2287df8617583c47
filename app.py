"""`streamlit run app.py`: the app of reports.viewer, on ./runs, RESTAUDIT_RUNS, or `-- FOLDER`."""

import os
import sys

from streamlit.starlette import App

from reports.viewer import serve

if sys.argv[1:]:
    os.environ["RESTAUDIT_RUNS"] = sys.argv[1]
app = App(serve.SCRIPT, middleware=serve.GUARDED, lifespan=serve.begun)
