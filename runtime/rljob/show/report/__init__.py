"""What runs have done, as one page of HTML or as single pictures.

files    a run's folder, read with what is missing
history  its records as values over steps and time; pure
groups   runs that differ in their seed alone: mean and spread; pure
plots    what is to be drawn; pure
svg      a plot as part of the page
page     the page
png      a plot as a picture, by matplotlib
"""
