"""Scripts that Streamlit runs, one a page."""
