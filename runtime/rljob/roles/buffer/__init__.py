"""The buffer: stores segments of experience and hands them to the learner, as a queue or as replay.

arena    one memory-mapped file that outlives the process
queue    segments in order, each consumed once (on-policy)
replay   transitions sampled many times, uniformly or by priority
limiter  when rollouts (credit) and the learner may continue  pure
rollouts connected rollouts; malformed messages per client
core     what each message does                               no I/O but the arena
server   sockets around the core
"""
