"""Training on one machine: starts, supervises and ends the roles of a job as processes.

launcher     process beside the supervisor that starts the roles and reports their ends
launching    what the launcher and its two ways to start a role share
forking      starts a role by fork, on Linux
programs     starts a role as a new Python process, on macOS
scratch      temporary folder of a run
spawner      client of the launcher, in the supervisor
restarts     restart policy of a role; pure
prepare      checks and preparations before the start
roles        command line and state of each role
result       progress and result of a run
stalled      stall detection
situation    state of a run, for `rljob explain`
targets      targets of Prometheus
supervisor   main loop
run          `rljob.run`
background   a run in a process of its own, for `rljob.start`
scaling      which rollouts start and end while a run works
summary      text at the end of a run
view         display of a run
"""
