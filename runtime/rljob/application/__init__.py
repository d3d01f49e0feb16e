"""Applications drive the agent: a program of the user asks for actions, and the job learns from what it reports.

agent       `rljob.Agent`, which the program makes
episode     one episode: decisions, rewards, its end
segments    the rows of one segment, from its first decision until it leaves. Pure
values      what the program passes, checked and stored
policies    the newest policy versions, and which one a segment acts with
ring        memory that program and courier share: segments to send, policy versions, counters
courier     the process that sends and fetches, so that the program never waits
link        the program's side of that process: starts it, hears of it, starts it again
places      addresses and keys of a job, by its address or its run's folder
"""
