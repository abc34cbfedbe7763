"""The projects behind the pages: what Label Studio says of them, and the page that lists them all.

facts    titles and counts, asked of Label Studio and remembered for seconds
listing  a row a project, with what is served and what is under way
"""
