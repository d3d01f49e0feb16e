"""A folder of users' modules that goes with a job.

archive   from the archive to files
files     which files of a folder go; `.gitignore`
pack      from files to the archive
"""
