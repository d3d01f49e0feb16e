"""A rollout: steps environments with the newest policy and ships fixed-length segments.

collect    environments and policy into one segment
ship       segments to the buffer: credit, acknowledgement, retransmission
loop       the process
"""
