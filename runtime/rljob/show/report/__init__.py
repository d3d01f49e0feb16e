"""Report of one or more runs as an HTML page or as single images.

files    reads a run's folder
history  records as values over steps and time; pure
groups   groups of runs that differ only in the seed, with mean and spread; pure
plots    contents of the plots; pure
scale    axes and ticks; pure
svg      a plot as SVG and HTML
page     the HTML page
picture  a plot as a PNG or SVG file, by matplotlib
"""
