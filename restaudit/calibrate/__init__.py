"""How good the alarms are: false-alarm rate and power of a gate policy on emulated runs with a
known truth.
"""
