"""The algorithms that come with rljob: one file each. What several of them share stands one folder above."""
