"""What the pages "Reports and exports" and "Verify" do: pure functions, and a view of Streamlit
elements for each.
"""
