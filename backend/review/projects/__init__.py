"""Label Studio's projects on the pages.

facts    titles and counts from Label Studio, remembered for seconds
listing  a row for every project, with the version that serves it
"""
