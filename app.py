"""`streamlit run app.py`: the app of reports.viewer, on ./runs, RESTAUDIT_RUNS, or `-- FOLDER`."""

from reports.viewer.app import main

main(__file__)
