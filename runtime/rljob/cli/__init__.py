"""The `rljob` command. Each subcommand is a module that is imported on use."""
