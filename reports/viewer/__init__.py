"""Streamlit pages over run folders."""
