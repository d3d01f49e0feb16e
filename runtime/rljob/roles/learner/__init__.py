"""The learner: turns experience into policy versions.

source     deliveries from the buffer
publish    policy versions to whoever acts
progress   what the run has reached, and when it ends    pure
saving     checkpoints beside the training
batches    deliveries put together to what one version is made of
training   update, publish, report, save
loop       the process
"""
