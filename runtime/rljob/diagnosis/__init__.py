"""Why a job is not training, or not faster: one verdict, the evidence for it, and what to change. Pure."""
