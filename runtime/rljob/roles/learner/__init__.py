"""The learner: turns experience into policy versions.

source     deliveries from the buffer
weight_server  sends policy versions to rollouts and evaluators
progress   counters of the run and its stop conditions   pure
saving     writes checkpoints in a thread
batches    combines deliveries into the batch of one version
training   update, publish, report, save
loop       the process
"""
