"""The rljob operator: creates and maintains the pods of RLJobs."""
