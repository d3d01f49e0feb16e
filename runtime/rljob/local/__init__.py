"""Training on one machine: starts, supervises and ends the roles of a job as processes.

forkserver   process that preloads the shared modules and forks the roles
spawner      client of the fork server, in the supervisor
restarts     restart policy of a role; pure
prepare      checks and preparations before the start
roles        command line and state of each role
result       progress and result of a run
stalled      stall detection
situation    state of a run, for `rljob explain`
targets      targets of Prometheus
supervisor   main loop
run          `rljob.run`
summary      text at the end of a run
view         display of a run
"""
