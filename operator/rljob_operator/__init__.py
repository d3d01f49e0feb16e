"""The rljob operator: turns an RLJob into pods and keeps it that way."""
