"""Training on one machine: the roles of a job as processes, started, watched and cleaned up.

forkserver   the process that has imported what roles share, and forks them
spawner      the supervisor's side of it
restarts     when a dead role is started again, and when that is pointless    pure
prepare      all that is checked and made before anything runs
folder       a run's folder
roles        how each role is started
result       what a run reports and what it ends with
supervisor   the loop
run          `rljob.run`
view         what a person sees of it
"""
