"""Parts shared by the processes of all roles: context, stop requests, end report, downloads, trace."""
