"""The gateway: an application in any language acts for a job over HTTP and JSON; this process has the agent."""
